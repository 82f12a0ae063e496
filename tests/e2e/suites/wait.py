# SPDX-License-Identifier: Apache-2.0
"""
Wait: a saturated server's own view of a request is short while its clients wait long. In a closed loop
the parts must make the whole: the wait before the server reads + its duration + the wait before
the client reads = what the client measured, within 5 % of the mean over all requests.
"""
import glob
import json
import os
import sys

from lib.proc import HERE, TOP, Process, wait_for, which
from lib.report import Failed, Skip
from lib.truth import Side, Want
from servers.base import Server
from servers.handlers import cached, run as run_program

from . import collector
from .group import SETTLE, Group, new_mark, unprinted

TOLERANCE = 0.05
WAIT, DURATION = "sonde_server_request_wait_seconds", "http_server_request_duration_seconds"
BUSY_NS = 200000


def pinned(cpu, argv):
    """Server and client each on a CPU of their own where there are two."""
    if os.cpu_count() < 2 or not which("taskset"):
        return argv
    return [which("taskset"), "-c", str(cpu)] + argv


class Busy(Server):
    name = "busy"

    def argv(self, work):
        self.result = os.path.join(work, "result.json")
        return pinned(0, [sys.executable, "-S", "-E", os.path.join(HERE, "apps", "busy.py"), str(self.port), str(BUSY_NS), self.result])


class Static(Server):
    name = "nginx-static"

    def unavailable(self):
        return None if which("nginx") else "nginx-light is not installed"

    def argv(self, work):
        with open(os.path.join(work, "page"), "w") as f:
            f.write("a small file\n")
        conf = os.path.join(work, "nginx.conf")
        with open(conf, "w") as f:
            f.write("user nobody nogroup; daemon off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
                    "events { worker_connections 1024; }\n"
                    "http { access_log off; keepalive_requests 1000000; keepalive_timeout 60s;\n"
                    "server { listen 127.0.0.1:%d backlog=1024; location = /page { alias %s/page; default_type text/plain; } } }\n"
                    % (work, work, self.port, work))
        return pinned(0, [which("nginx"), "-p", work, "-c", conf])


def closed_loop():
    """The client's binary."""
    source = os.path.join(HERE, "clients", "closed.c")
    if not which("cc"):
        raise Skip("no C compiler")
    folder = cached("closed", [source], lambda f: run_program(["cc", "-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o",
                                                              os.path.join(f, "closed"), source], f))
    return os.path.join(folder, "closed")


def load(group, server, conns, requests, target):
    p = Process(pinned(1, [closed_loop(), str(server.port), str(conns), str(requests), target]), "closed-%d" % conns, group.work,
                cgroup=group.cgroup)
    if p.wait(60) != 0:
        raise RuntimeError("client: " + p.text(err=True))
    truth = json.loads(p.text())
    # the kernel switches its stamps on in its own time: the first answers may have none
    if truth["requests"] != requests or truth["unstamped"] > requests / 100:
        raise Failed("the client's own stamps are not whole (test's own error): %s" % truth)
    return truth


def moved(before, after, name):
    return after.sum(name + "_sum") - before.sum(name + "_sum"), int(after.sum(name + "_count") - before.sum(name + "_count"))


def settle(group, before, requests):
    """The scrape in which all requests are counted, or the last one before the time was over."""
    def counted():
        s = group.sonde.scrape()
        return s if moved(before, s, DURATION)[1] >= requests else None
    try:
        return wait_for(counted, SETTLE, "counts")
    except TimeoutError:
        return group.sonde.scrape()


def parts_make_the_whole(truth, wait, duration, requests):
    """Sums in seconds."""
    whole, own = truth["time"] / 1e9, truth["own_wait"] / 1e9 * requests / (requests - truth["unstamped"])
    parts = wait + duration + own
    note = "wait %.0f + duration %.0f + client's own wait %.0f = %.0f of %.0f µs (%.1f %%)" % (
        wait / requests * 1e6, duration / requests * 1e6, own / requests * 1e6, parts / requests * 1e6, whole / requests * 1e6,
        100 * parts / whole)
    if abs(parts - whole) > TOLERANCE * whole:
        raise Failed(note)
    if wait < duration:
        raise Failed("the server was not saturated (test's own error): " + note)
    return note


def by_metrics(group, server, conns, requests):
    """Flat out: lines may be dropped, sums may not."""
    before = group.before()
    truth = load(group, server, conns, requests, "/page?t=wait%d." % conns)
    after = settle(group, before, requests)
    duration, n = moved(before, after, DURATION)
    wait, n_wait = moved(before, after, WAIT)
    if (n, n_wait) != (requests, requests):
        raise Failed("%d durations and %d waits, were %d requests" % (n, n_wait, requests))
    return parts_make_the_whole(truth, wait, duration, requests)


def by_lines(group, server, conns, requests):
    """Slow enough for a line each: the lines' sum is the metric's, with its labels."""
    mark = new_mark("wait")
    before = group.before()
    truth = load(group, server, conns, requests, "/get/7?t=" + mark)
    wants = [Want("GET", "/get/7?t=%s%d" % (mark, n), 200, 0, 2, False) for n in range(requests)]
    lines = [x for x in group.check(mark, [Side("server", server.port, wants), Side("client", server.port, list(wants))], before)
             if x.role == "server"]
    waits = [x.raw.get("wait_seconds") for x in lines]
    unknown = waits.count(None)
    if unknown:
        raise Failed("%d of %d server calls have no wait" % (unknown, requests))
    after = group.sonde.scrape()
    summed, count = moved(before, after, WAIT)
    if count != requests or abs(summed - sum(waits)) > 1e-9 * requests + 1e-6 * sum(waits):
        raise Failed("%s: %d and %.9f s, the lines say %d and %.9f s" % (WAIT, count, summed, requests, sum(waits)))
    said = {(x.raw["protocol"], x.raw.get("route"), x.service) for x in lines}
    held = {(s.labels.get("protocol"), s.labels.get("http_route"), s.labels.get("service_name")) for s in after.get(WAIT + "_count")}
    if held != said or any(not all(k) for k in said):
        raise Failed("%s has protocol, route, service %s, the lines have %s" % (WAIT, sorted(held), sorted(said)))
    return parts_make_the_whole(truth, sum(waits), sum(x.duration for x in lines), requests)


def client_has_none(group):
    wrong = [x.raw for x in group.sonde.lines if x.role == "client" and x.raw.get("wait_seconds") is not None]
    if wrong:
        raise Failed("a client call with a server's wait: %s" % wrong[0])
    if group.sonde.scrape().get("sonde_client_request_wait_seconds_count"):
        raise Failed("a client's wait as a metric")


def own_view(group, server):
    """Its duration is what the server itself stamps."""
    scrape = group.sonde.scrape()
    lines = [x for x in group.sonde.lines if x.role == "server"]
    client_has_none(group)
    server.proc.stop()
    with open(server.result) as f:
        truth = json.load(f)
    seen = sum(x.duration for x in lines)
    if truth["requests"] != len(lines) or abs(seen - truth["busy"] / 1e9) > max(0.02 * truth["busy"] / 1e9, 50e-6 * len(lines)):
        raise Failed("%d calls and %.6f s, the server stamped %d and %.6f s" % (len(lines), seen, truth["requests"], truth["busy"] / 1e9))
    if unprinted(scrape):
        raise Failed("%d lines dropped" % unprinted(scrape))
    return "mean %.1f µs, stamped %.1f µs" % (seen / len(lines) * 1e6, truth["busy"] / 1e3 / len(lines))


def group_of(report, options, name, server, cells, show):
    """cells: [(name, function of the group)]"""
    if not any(report.wanted(n) for n, _ in cells):
        return
    why = server.unavailable()
    if why:
        for n, _ in cells:
            report.skip(n, why)
        return
    group = Group(options, name)
    try:
        group.start(server)
        group.start_sonde(show=show)
        for n, cell in cells:
            report.cell(n, lambda cell=cell: cell(group))
    except Exception as e:
        def fail(error=e):
            raise error
        report.cell(name + "/start", fail, always=True)
    finally:
        group.close()


def in_span(options):
    """The attribute of the span says what the line says."""
    if not glob.glob(os.path.join(TOP, "build", "cache", "otelcol-*")):
        raise Skip("the Collector is not built (tests/e2e/collector/build.sh)")
    group = Group(options, "wait-span")
    receiver = None
    try:
        server = group.start(Busy())
        receiver = collector.Collector(collector.build(), group.work)
        group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % receiver.http, "OTEL_BSP_SCHEDULE_DELAY": "100"})
        mark = new_mark("wait-span")
        load(group, server, 64, 640, "/get/7?t=" + mark)

        def arrived():
            spans = [collector.SpanLine(s) for _, s in receiver.spans()]
            mine = [x for x in spans if mark in x.target]
            return mine if len(mine) == 1280 else None
        try:
            spans = wait_for(arrived, 6, "spans")
        except TimeoutError:
            raise Failed("%d spans, were 1280" % len(receiver.spans()))
        group.sonde.read()
        said = {x.target: x.raw["wait_seconds"] for x in group.sonde.lines if x.role == "server"}
        bad = []
        for x in spans:
            value = x.raw.get("sonde.request.wait")
            if x.role == "client" and value is not None:
                bad.append("a client's span with sonde.request.wait")
            if x.role == "server" and (value is None or abs(value - said[x.target]) > 1e-9):
                bad.append("%s: sonde.request.wait %s, the line says %s" % (x.target, value, said[x.target]))
        if bad:
            raise Failed(bad[:3])
        return "640 server spans"
    finally:
        if receiver:
            receiver.proc.kill()
        group.close()


def run(report, options):
    n = 4000 if options.quick else 20000
    busy, static = Busy(), Static()
    lists = [("wait-busy", busy, "json", [("wait/busy-64", lambda g: by_lines(g, busy, 64, 3000)),
                                          ("wait/busy-128", lambda g: by_lines(g, busy, 128, 3000)),
                                          ("wait/busy-own-view", lambda g: own_view(g, busy))]),
             ("wait-nginx", static, "none", [("wait/nginx-64", lambda g: by_metrics(g, static, 64, n)),
                                             ("wait/nginx-128", lambda g: by_metrics(g, static, 128, n))])]
    if report.listing:
        for x in lists:
            for name, _ in x[3]:
                report.cell(name, None)
        report.cell("wait/span", None)
        return
    if options.truth_only:
        return
    for name, server, show, cells in lists:
        group_of(report, options, name, server, cells, show)
    report.cell("wait/span", lambda: in_span(options))
