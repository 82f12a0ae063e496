# SPDX-License-Identifier: Apache-2.0
"""
A scanner asks for 100,000 different URLs. The series stay within the budget, what goes over is in one
overflow series per service, the totals are what was made, on both roles, and sonde's memory stays.
"""
import os
import re
import sys
import time

from lib.client import _numbers
from lib.proc import HERE, Process, wait_for, which
from lib.report import Failed
from servers.base import Server

from .group import SETTLE_LOST, Group, lost_between, without_loss

COUNT = 100000
ROUTES = 100  # metrics.routes-per-service, as it is unless configured
MEMORY_GROWS = 4 << 20  # bytes; the paths alone, kept, would be more
MEMORY = 25 << 20
FAMILIES = ["http_%s_%s" % (role, what) for role in ("server", "client") for what in
            ("request_duration_seconds", "request_body_size_bytes", "response_body_size_bytes")]
OWN = {"service_name", "service_namespace", "service_instance_id", "otel_metric_overflow"}


class Scanned(Server):
    """nginx: 204 to everything, and a log of what was asked."""
    name = "nginx-scanned"

    def unavailable(self):
        return None if which("nginx") else "nginx-light is not installed"

    def argv(self, work):
        conf = os.path.join(work, "nginx.conf")
        with open(conf, "w") as f:
            f.write("user nobody nogroup; daemon off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
                    "events { worker_connections 64; }\n"
                    "http { log_format uri '$request_uri $status'; access_log %s uri buffer=1m flush=100ms; keepalive_requests 1000000;\n"
                    "server { listen 127.0.0.1:%d; location / { return 204; } } }\n" % (work, work, self.log_path, self.port))
        return [which("nginx"), "-p", work, "-c", conf]

    def asked(self):
        """The log's lines."""
        with open(self.log_path) as f:
            return f.read().splitlines()


def scan(group, server, shape):
    """Made and logged: that many different URLs, each once, answered with 204."""
    p = Process([sys.executable, "-S", "-E", os.path.join(HERE, "clients", "scan.py"), str(server.port), "100", shape],
                "scan-%d" % next(_numbers), group.work, cgroup=group.cgroup, env={"OTEL_SERVICE_NAME": "scanner"})
    start = time.monotonic()
    if p.wait(60) != 0:
        raise RuntimeError("client: " + p.text(err=True))
    took = time.monotonic() - start
    wait_for(lambda: len(server.asked()) >= COUNT, 5, "log")
    asked = server.asked()
    if p.text().strip() != str(COUNT) or len(asked) != COUNT or len(set(asked)) != COUNT or not all(a.endswith(" 204") for a in asked):
        raise Failed("the truths disagree (test's own error): client %s, log %d" % (p.text().strip(), len(asked)))
    return took


def settled(group, before):
    """(the scrape in which all that was made is counted or lost, what was lost)"""
    end = time.monotonic() + SETTLE_LOST
    while True:
        after = group.sonde.scrape()
        lost = lost_between(before, after)
        calls = [int(after.sum(FAMILIES[i] + "_count")) for i in (0, 3)]
        if sum(calls) + sum(lost.values()) == 2 * COUNT and max(calls) <= COUNT:
            return after, lost
        if time.monotonic() > end:
            raise Failed("%d server and %d client calls, were %d each; lost %s" % (*calls, COUNT, lost))
        time.sleep(0.05)


def series_of(after, family, routes, overflows):
    """What is wrong with one family; its series are of one service, `routes` of them and `overflows` more."""
    rows, bad = after.get(family + "_count"), []
    total = int(sum(s.value for s in rows))
    if total != COUNT or len({s.labels["service_name"] for s in rows}) != 1:
        bad.append("%d calls of %s, were %d of one" % (total, {s.labels["service_name"] for s in rows}, COUNT))
    over = [s for s in rows if "otel_metric_overflow" in s.labels]
    if any(s.labels["otel_metric_overflow"] != "true" or set(s.labels) - OWN for s in over):
        bad.append("the overflow series is %s" % over[0])
    names = {s.labels.get("http_route") for s in rows if s not in over}
    if (len(over), len(names), len(rows)) != (overflows, routes, routes + overflows):
        bad.append("%d series, %d of them overflow, %d routes" % (len(rows), len(over), len(names)))
    return ["%s: %s" % (family, x) for x in bad]


def budgets(after, routes, overflows):
    bad = []
    for family in FAMILIES:
        # a client's metrics have no route, by the conventions
        bad += series_of(after, family, *((1, 0) if "client" in family else (routes, overflows)))
    return bad, int(after.sum(FAMILIES[0] + "_count", otel_metric_overflow="true"))


def resident(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1)) * 1024


def once(options, shape, routes, overflows):
    """(text, lost)"""
    group = Group(options, "scan-%s-%d" % (shape, next(_numbers)))
    try:
        server = group.start(Scanned())
        group.start_sonde(show="none")
        before, small = group.sonde.scrape(), resident(group.sonde.proc.pid)
        took = scan(group, server, shape)
        after, lost = settled(group, before)
        large = resident(group.sonde.proc.pid)
        text = "%.0f/s" % (COUNT / took)
        if lost:
            return text, lost
        bad, over = budgets(after, routes, overflows)
        samples = len(after.samples) - len(before.samples)
        text += ", %d routes and %d calls in the overflow, %d more samples, RssAnon %.1f MB, was %.1f MB" % (
            routes, over, samples, large / 1e6, small / 1e6)
        if large - small > MEMORY_GROWS or large > MEMORY:
            bad.append("memory: RssAnon %d, was %d" % (large, small))
        if bad:
            raise Failed(bad + [text])
        wrong = group.sonde.stop()
        if wrong:
            raise Failed(wrong)
        return text, lost
    finally:
        group.close()


def run(report, options):
    if options.truth_only:
        return
    # words that are never too many at one position use the budget up; a position with too many becomes a
    # parameter, and the forty that were seen before it did keep what they had
    for shape in (("words", ROUTES, 1), ("tokens", 41, 0)):
        name = "scan/" + shape[0]
        why = None if report.listing else Scanned().unavailable()
        if why:
            report.skip(name, why)
        else:
            report.cell(name, lambda shape=shape: without_loss(lambda _: once(options, *shape)))
