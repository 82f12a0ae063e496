# SPDX-License-Identifier: Apache-2.0
"""Servers × scenarios: every cell's calls counted on both roles and compared with the truth."""
import os
import time

from lib.client import ab, h2load
from lib.proc import wait_for
from lib.report import Failed, Skip
from lib.truth import Offsets, Side, Want
from servers.all import servers, variants

from .group import Group, back_sides, clean_sides, new_mark, same_as_log, wants_of


class Cell:
    """What a scenario is given."""

    def __init__(self, group, server, scenario):
        self.group, self.server, self.scenario = group, server, scenario
        self.mark = new_mark("%s-%s" % (server.name, scenario))
        self.quick = group.options.quick
        self.before = group.before()
        self.unreadable = scenario in server.unreadable

    def q(self, method, path, **kw):
        """A request whose repetitions have targets of their own."""
        return dict(m=method, t="%s?t=%s{n}" % (path, self.mark), **kw)

    def run(self, conns, **kw):
        return self.group.client(self.server.target, conns, **kw).result()

    def check(self, sides, **kw):
        if self.unreadable:
            kw["unreadable"] = ("server", self.server.port)
        return self.group.check(self.mark, sides, self.before, **kw)

    def clean(self, done):
        bad = [d for d in done if d.error or d.status is None]
        if bad:
            raise Failed("the client failed (test's own error): %s %s: %s" % (bad[0].method, bad[0].target, bad[0].error))
        sides = clean_sides(self.server, done, self.mark)
        lines = self.check(sides)
        if not self.unreadable or not lines:
            return "%d requests" % len(done)
        lost = sum(len(s.wants) for s in sides) - len(lines)
        return "%d requests, %d not readable and counted: %s" % (len(done), lost, self.server.unreadable[self.scenario])


def keepalive(c):
    n = 30 if c.quick else 100
    return c.clean(c.run([{"requests": [dict(c.q("GET", "/get/1"), t="/get/1?t=%s%d.{n}" % (c.mark, k), n=n)]} for k in range(4)], threads=4))


def oneshot(c):
    n = 30 if c.quick else 100
    return c.clean(c.run([{"requests": [c.q("GET", "/get/2", n=n, h={"Connection": "close"})]}]))


def pipelined(c):
    a = c.q("GET", "/get/1", n=40)
    b = dict(c.q("POST", "/sink", n=20, body=30), t="/sink?t=%sp{n}" % c.mark)
    return c.clean(c.run([{"pipeline": 8, "requests": [a]}, {"pipeline": 5, "requests": [b]},
                          {"pipeline": 2, "requests": [dict(a, t="/get/100000?t=%sx{n}" % c.mark, n=10)]}]))


def bodies(size, times):
    def run(c):
        n = max(1, times // 3) if c.quick else times
        requests = [c.q("GET", "/get/%d" % size, n=n), c.q("POST", "/sink", n=n, body=size), c.q("POST", "/echo", n=n, body=size)]
        if "keepalive" not in c.server.features:
            requests = [dict(q, h={"Connection": "close"}) for q in requests]
        return c.clean(c.run([{"requests": requests}]))
    return run


def chunked(c):
    return c.clean(c.run([{"requests": [c.q("GET", "/chunked/1", n=10), c.q("GET", "/chunked/100000", n=5), c.q("GET", "/chunked/3000000")]}]))


def chunked_request(c):
    return c.clean(c.run([{"requests": [dict(c.q("POST", "/" + what, n=n, body=size, chunked=True), t="/%s?t=%s%d.{n}" % (what, c.mark, size))
                                        for what in ("sink", "echo") for size, n in ((1, 5), (100000, 5), (1000000, 1))]}]))


def sendfile(c):
    return c.clean(c.run([{"requests": [c.q("GET", c.server.file_route + size, n=n) for size, n in (("100000", 10), ("1000000", 4), ("10000000", 2))]}]))


def head(c):
    # a HEAD's answer names a length and has no body: the next answer shows whether that was understood
    conns = [{"requests": [dict(c.q(m, "/get/100000"), t="/get/100000?t=%s%d" % (c.mark, i)) for i, m in enumerate(["HEAD", "GET"] * 10)]}]
    return c.clean(c.run(conns))


def expect(c):
    return c.clean(c.run([{"requests": [c.q("POST", "/sink", n=10, body=100000, expect=True), c.q("POST", "/echo", n=5, body=1000, expect=True)]}]))


def split(c):
    requests = [c.q("GET", "/get/1", n=10), c.q("POST", "/echo", n=5, body=50),
                dict(c.q("POST", "/sink", n=3, body=40, chunked=True), t="/sink?t=%sc{n}" % c.mark)]
    if c.server.unix or not c.server.features & {"echo"}:
        requests = requests[:1]
    return c.clean(c.run([{"split": 1, "requests": requests}]))


def statuses(c):
    codes = (200, 201, 204, 301, 304, 400, 404, 418, 500, 503)
    requests = [dict(c.q("GET", "/status/%d" % code, n=5)) for code in codes if code not in (204, 304)]
    done = c.run([{"requests": requests}])
    return c.clean(done)


def paced(c):
    seconds = 1 if c.quick else 3
    extra = {} if "keepalive" in c.server.features else {"h": {"Connection": "close"}}
    conns = [{"requests": [dict(m="GET", t="/get/100?t=%s%d.{n}" % (c.mark, k), n=125 * seconds, **extra)]} for k in range(8)]
    if c.server.back:
        conns = [dict(x, requests=[dict(x["requests"][0], t=x["requests"][0]["t"].replace("/get/100?", "/get/2?"))]) for x in conns]
    start = time.monotonic()
    note = c.clean(c.run(conns, rate=1000, threads=8))
    return "%s in %.1f s" % (note, time.monotonic() - start)


def same_sides(c, path, n):
    """n equal requests; the log tells how many the server had."""
    logged = c.server.logged_when(c.mark, n, timeout=10)
    # a log that lags behind is no contradiction: the client counted n answers, and sonde is compared with n
    if len(logged) > n or any(e.status != 200 for e in logged):
        raise Failed("the truths disagree (test's own error): client %d, log %d" % (n, len(logged)))
    size = int(path.split("?")[0].split("/")[2])
    wants = [Want("GET", path, 200, 0, size, False) for _ in range(n)]
    ports = [c.server.port]
    if c.server.is_proxied(path):
        back = c.server.back.logged_when(c.mark, n, timeout=10)
        if len(back) != n:
            raise Failed("the truths disagree (test's own error): client %d, log behind %d" % (n, len(back)))
        ports.append(c.server.back.port)
    return [Side(role, port, wants) for port in ports for role in ("client", "server")]


def flat(tool):
    def run(c):
        n = c.server.flat // (4 if c.quick else 1)
        path = "/get/1?t=" + c.mark
        start = time.monotonic()
        if tool is ab:
            n = ab(c.server.target, path, n, c.group.cgroup, c.group.work, keepalive="keepalive" in c.server.features)
        else:
            n = h2load(c.server.target, path, n, c.group.cgroup, c.group.work)
        took = time.monotonic() - start
        sides = same_sides(c, path, n)
        lines = c.check(sides, flood=True)
        dropped = sum(len(s.wants) for s in sides) - len(lines) if c.group.sonde else 0
        return "%d requests, %.0f/s" % (n, n / took) + (", %d lines dropped and counted" % dropped if dropped else "")
    return run


def flat_raw(c):
    n = 500 if c.quick else 2000
    return c.clean(c.run([{"requests": [dict(m="GET", t="/get/1?t=%s%d.{n}" % (c.mark, k), n=n // 4)]} for k in range(4)], threads=4))


def client_abort(c):
    """The client goes before the answer (its request is complete), and in the middle of one."""
    n = 5
    one = [{"requests": [dict(m="GET", t="/delay/300?t=%sb%d" % (c.mark, k), abort="sent", wait=0.1)]} for k in range(n)]
    two = [{"requests": [dict(m="GET", t="/drip?t=%sm%d" % (c.mark, k), abort="head")]} for k in range(n)]
    done = c.run(one + two, threads=2 * n if c.server.name != "php" else 2)
    if any(d.error != "aborted" for d in done):
        raise Failed("the client failed (test's own error): %s" % [d.error for d in done])
    sides = [Side("client", c.server.port, [Want(d.method, d.target, d.status, error=True) for d in done])]
    # the server may have written its answer to a peer that was gone: its status is then as true as none
    sides.append(Side("server", c.server.port, [Want(d.method, d.target, {None, 200} if d.status is None else {200}) for d in done]))
    if c.server.back:
        passed = {d.target: d for d in done}
        wants = [Want("GET", t, {None, 200} if d.status is None else {200}) for t, d in passed.items()]
        sides += [Side("client", c.server.back.port, wants), Side("server", c.server.back.port, list(wants))]
    c.check(sides)
    return "%d requests" % len(done)


def server_abort(c):
    n = 1 if c.server.name == "php" else 5
    conns = [{"requests": [dict(m="GET", t="/abort/%s?t=%s%d" % (when, c.mark, k))]} for when in ("before", "mid") for k in range(n)]
    done = c.run(conns)
    plain = not c.server.back
    if plain and any(d.error is None for d in done):
        raise Failed("the server did not abort (test's own error)")
    sides = [Side("client", c.server.port, [Want(d.method, d.target, d.status, error=d.error is not None) for d in done]),
             Side("server", c.server.port, [Want(d.method, d.target, d.status, error=d.error is not None) for d in done])]
    if c.server.back:
        logged = c.server.back.logged_when(c.mark, len(done))
        wants = [Want("GET", e.target, e.status, error=True) for e in logged]
        sides += [Side("client", c.server.back.port, wants), Side("server", c.server.back.port, list(wants))]
    c.check(sides)
    return "%d requests, %d cut" % (len(done), sum(d.error is not None for d in done))


def kill(c):
    """The server's process dies with requests in its hands."""
    n = 1 if c.server.name == "php" else 5  # one worker may take several in turn
    client = c.group.client(c.server.target, [{"requests": [dict(m="GET", t="/delay/1500?t=%s%d" % (c.mark, k))]} for k in range(n)], threads=n)
    path = "/delay/1500"
    if c.group.sonde:
        active = "http_server_active_requests"
        end = time.monotonic() + 5
        while c.group.sonde.scrape().sum(active) < n and time.monotonic() < end:
            time.sleep(0.02)
        if c.group.sonde.scrape().sum(active) < n:
            client.result()
            raise Failed("%s never reached %d" % (active, n))
    else:
        time.sleep(0.7)
    c.server.kill()
    done = client.result()
    if any(d.status is not None for d in done):
        raise Failed("an answer came (test's own error)")
    wants = [Want("GET", d.target, None, error=True) for d in done]
    sides = [Side("client", c.server.port, wants), Side("server", c.server.port, list(wants))]
    if c.server.is_proxied(path):
        loose = [Want("GET", d.target, {None, 200}) for d in done]
        sides += [Side("client", c.server.back.port, [Want("GET", d.target, None, error=True) for d in done]),
                  Side("server", c.server.back.port, loose)]
    c.check(sides)
    return "%d requests" % len(done)


def durations_once(c, mark, counts):
    """[differences], the offsets as text."""
    before = c.group.before()
    extra = {} if "keepalive" in c.server.features else {"h": {"Connection": "close"}}
    warm = [dict(m="GET", t="/delay/0?t=%swarm{n}" % mark, n=WARM, **extra)]
    conns = [{"requests": warm + [dict(m="GET", t="/delay/0?t=%s0.{n}" % mark, n=counts[0][1], **extra)]}]
    # those that sleep, four at a time
    conns += [{"requests": [dict(m="GET", t="/delay/%d?t=%s%d.%d.{n}" % (ms, mark, ms, k), n=n, **extra)]} for ms, n in counts[1:] for k in range(4)]
    # a client on the server's own CPU takes it over inside the server's write, before the server can stamp
    cpu = max(os.sched_getaffinity(0)) if len(os.sched_getaffinity(0)) > 1 else None
    done = c.run(conns[:1], cpu=cpu) + c.run(conns[1:], threads=4, cpu=cpu)
    bad = [d for d in done if d.error]
    if bad:
        raise Failed("the client failed (test's own error): %s" % bad[0].error)
    lines = c.group.check(mark, clean_sides(c.server, done, mark), before)
    if not lines:
        return [], ""
    seen = {(x.role, x.target): x.duration for x in lines if x.port == c.server.port}
    logged = {e.target: e.duration for e in c.server.logged(mark)}
    wrong, notes = [], []
    for ms, _ in counts:
        targets = [d for d in done if d.target.startswith("/delay/%d?" % ms) and "warm" not in d.target]
        server = Offsets([(logged[d.target], seen["server", d.target]) for d in targets])
        client = Offsets([((d.end - d.start) / 1e9, seen["client", d.target]) for d in targets])
        if c.server.resolution:
            wrong += server.check("%d ms, server" % ms, 0, c.server.resolution)
        else:
            wrong += server.check("%d ms, server" % ms)
        # preemption between our client's system call and its stamp is our client's: its p99 says nothing
        wrong += client.check("%d ms, client" % ms, points=(0.5,))
        late = [d for d in client.pairs if d[1] > d[0] + 50e-6]
        if late:
            wrong.append("%d ms, client: %.1f µs within a request of %.1f µs" % (ms, late[0][1] * 1e6, late[0][0] * 1e6))
        notes.append("%dms %s|%s" % (ms, server.text(), client.text()))
    return wrong, ", ".join(notes)


WARM = 1000
ATTEMPTS = 10  # other work on the machine is no fault of what is measured; a wrong duration fails every time


def durations(c):
    """
    Per request, by its target: what the server stamped, what sonde measured, what our client stamped. A
    busy machine takes the CPU away between a system call and the stamp beside it, so a p99 that differs is
    measured again, a few times; a wrong clock or a wrong byte is wrong each time. Counts are equal in each.
    """
    counts = ((0, 200), (5, 50), (50, 5)) if c.quick else ((0, 400), (5, 50), (50, 25))
    for attempt in range(ATTEMPTS):
        wrong, notes = durations_once(c, c.mark if not attempt else new_mark(c.mark + "again"), counts)
        if not wrong:
            return "offsets µs " + notes + (" (attempt %d)" % (attempt + 1) if attempt else "")
    raise Failed(wrong + ["offsets min/p50/p99 in µs, server|client: " + notes])


# name, feature, scenario; in the order they run
SCENARIOS = [
    ("keepalive", "keepalive", keepalive),
    ("oneshot", "oneshot", oneshot),
    ("pipelined", "pipeline", pipelined),
    ("body-1", "get", bodies(1, 10)),
    ("body-100k", "get", bodies(100000, 10)),
    ("body-10M", "get", bodies(10000000, 3)),
    ("chunked", "chunked", chunked),
    ("chunked-request", "chunked_request", chunked_request),
    ("sendfile", "sendfile", sendfile),
    ("head", "head", head),
    ("100-continue", "expect", expect),
    ("split", "split", split),
    ("statuses", "status", statuses),
    ("durations", "delay", durations),
    ("paced", "paced", paced),
    ("flat-ab", "flat", flat(ab)),
    ("flat-h2load", "flat_h1", flat(h2load)),
    ("flat-raw", "flat_raw", flat_raw),
    ("client-abort", "client_abort", client_abort),
    ("server-abort", "server_abort", server_abort),
    ("kill", "kill", kill),
]


class OpenBefore:
    """Connections that made a request before sonde was there go on afterwards."""

    def __init__(self, group, server):
        self.group, self.server = group, server
        self.mark = new_mark("%s-open-before" % server.name)
        path = "/get/1" if server.unix else "/delay/0"
        self.client = group.client(server.target, [
            {"requests": [dict(m="GET", t="%s?t=%spre%d" % (path, self.mark, k)),
                          dict(m="GET", t="%s?t=%s%d.{n}" % (path, self.mark, k), n=10)]} for k in range(4)], gate=True)
        wait_for(self.client.waiting, 10, "client's first requests")

    def run(self):
        before = self.group.before()
        self.client.go_on()
        done = self.client.result()
        server, mark = self.server, self.mark
        same_as_log(done, server.logged_when(mark, len(done)))
        late = [d for d in done if mark + "pre" not in d.target]
        sides = [Side(role, server.port, wants_of(late)) for role in ("client", "server")]
        if server.is_proxied("/delay/0"):
            wants = [Want(d.method, d.target, d.status, error=False) for d in late]
            sides += [Side(role, server.back.port, wants) for role in ("client", "server")]
        self.group.check(mark, sides, before)
        return "%d requests" % len(late)


def run_server(report, options, server):
    prefix = server.name + "/"
    names = ["open-before"] + [name for name, _, _ in SCENARIOS]
    has = {name: feature in server.features for name, feature, _ in SCENARIOS}
    has["open-before"] = "keepalive" in server.features
    missing = {"sendfile": "the server has none", "flat-raw": "ab and h2load do it", **server.absent}
    feature_of = {name: feature for name, feature, _ in SCENARIOS}
    chosen = [n for n in names if report.wanted(prefix + n)]
    for n in chosen:
        if n == "flat-raw" and not has[n]:
            continue
        if not has[n] and server.variant:
            continue
        report.matrix["all"] += 1
        if not has[n]:
            report.matrix["absent"].append((prefix + n, missing.get(feature_of.get(n, "keepalive"), missing.get(n, "not by this server"))))
    chosen = [n for n in chosen if has[n]]
    if not chosen:
        return
    if report.listing:
        for n in chosen + ["totals"]:
            report.cell(prefix + n, None)
        return
    why = server.unavailable()
    if why:
        for n in chosen:
            report.skip(prefix + n, why)
        return
    group = None
    failed = len(report.failed)
    try:
        try:
            group = Group(options, server.name)
            if server.back:
                server.back.build()
            group.start(server)
            opened = OpenBefore(group, server) if "open-before" in chosen else None
            group.start_sonde()
        except Exception as e:
            def fail(error=e):
                raise error
            for n in chosen:
                report.matrix["run"] += not isinstance(e, Skip)
                report.cell(prefix + n, fail)
            return
        if opened:
            report.matrix["run"] += 1
            report.cell(prefix + "open-before", opened.run)
        for name, _, scenario in SCENARIOS:
            if name in chosen:
                report.matrix["run"] += 1
                report.cell(prefix + name, lambda: scenario(Cell(group, server, name)))
        if group.sonde:
            report.cell(prefix + "totals", group.totals, always=True)
    finally:
        if group:
            group.close()
            if len(report.failed) == failed:
                group.forget()


def run(report, options):
    for server in servers() + variants():
        run_server(report, options, server)
