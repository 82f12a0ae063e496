# SPDX-License-Identifier: Apache-2.0
"""Servers × scenarios: every cell's calls counted on both roles and compared with the truth."""
import contextlib
import os
import time

from lib.client import ab, h2load
from lib.proc import wait_for
from lib.report import Failed, Skip
from lib.truth import Side, Want, percentile
from servers.all import servers, variants

from .group import Group, back_sides, clean_sides, new_mark, same_as_log, wants_of, without_loss


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
    seconds = 1 if c.quick else 2
    extra = {} if "keepalive" in c.server.features else {"h": {"Connection": "close"}}
    conns = [{"requests": [dict(m="GET", t="/get/100?t=%s%d.{n}" % (c.mark, k), n=125 * seconds, **extra)]} for k in range(8)]
    if c.server.back:
        conns = [dict(x, requests=[dict(x["requests"][0], t=x["requests"][0]["t"].replace("/get/100?", "/get/2?"))]) for x in conns]
    start = time.monotonic()
    note = c.clean(c.run(conns, rate=1000, threads=8))
    return "%s in %.1f s" % (note, time.monotonic() - start)


def same_sides(c, mark, path, n):
    """n equal requests; the log tells how many the server had."""
    logged = c.server.logged_when(mark, n, timeout=10)
    # a log that lags behind is no contradiction: the client counted n answers, and sonde is compared with n
    if len(logged) > n or any(e.status != 200 for e in logged):
        raise Failed("the truths disagree (test's own error): client %d, log %d" % (n, len(logged)))
    size = int(path.split("?")[0].split("/")[2])
    wants = [Want("GET", path, 200, 0, size, False) for _ in range(n)]
    ports = [c.server.port]
    if c.server.is_proxied(path):
        back = c.server.back.logged_when(mark, n, timeout=10)
        if len(back) != n:
            raise Failed("the truths disagree (test's own error): client %d, log behind %d" % (n, len(back)))
        ports.append(c.server.back.port)
    return [Side(role, port, wants) for port in ports for role in ("client", "server")]


def flat_once(c, tool, mark):
    """(text, lost): what was made is counted or lost, always; that nothing is lost is up to the caller."""
    n = c.server.flat // (4 if c.quick else 1)
    path, before = "/get/1?t=" + mark, c.group.before()
    start = time.monotonic()
    if tool is ab:
        n = ab(c.server.target, path, n, c.group.cgroup, c.group.work, keepalive="keepalive" in c.server.features)
    else:
        n = h2load(c.server.target, path, n, c.group.cgroup, c.group.work)
    took = time.monotonic() - start
    sides = same_sides(c, mark, path, n)
    lines, lost = c.group.check_flood(mark, sides, before)
    dropped = sum(len(s.wants) for s in sides) - len(lines) - sum(lost.values()) if c.group.sonde else 0
    return "%d requests, %.0f/s" % (n, n / took) + (", %d lines dropped and counted" % dropped if dropped else ""), lost


def flat(tool):
    def run(c):
        return without_loss(lambda attempt: flat_once(c, tool, c.mark if not attempt else new_mark(c.mark + "again")))
    return run


def flat_raw(c):
    n = 500 if c.quick else 2000
    return c.clean(c.run([{"requests": [dict(m="GET", t="/get/1?t=%s%d.{n}" % (c.mark, k), n=n // 4)]} for k in range(4)], threads=4))


def pairs(statuses, errors):
    return frozenset((status, error) for status in statuses for error in errors)


def client_gone(logged, sent_only, unix):
    """
    What a server's call can be whose client has gone, by what the server says of it: `logged` is what it
    wrote down (None: that it sent nothing; False: it wrote nothing down, as the answer failed under its hands).
    """
    gone = {"peer_closed", "peer_reset"} | ({"connection_lost"} if unix else set())
    if not sent_only:
        # one that notices may end its answer in order, with a last chunk that goes out behind the client's FIN
        return pairs({200}, gone | ({None} if logged else set()))
    if logged is None:
        return pairs({None}, gone)
    # of an answer to a client that had gone, the reset that it causes comes before the write is over, or after it
    # (and between the write of the head and that of the body)
    return pairs({None}, gone) | pairs({200}, gone | ({None} if logged else set()))


def client_abort(c):
    """The client goes before the answer (its request is complete), and in the middle of one."""
    n, server = 5, c.server
    one = [{"requests": [dict(m="GET", t="/delay/300?t=%sb%d" % (c.mark, k), abort="sent", wait=0.1)]} for k in range(n)]
    two = [{"requests": [dict(m="GET", t="/drip?t=%sm%d" % (c.mark, k), abort="head")]} for k in range(n)]
    done = c.run(one + two, threads=2 * n if server.name != "php" else 2)
    if any(d.error != "aborted" for d in done):
        raise Failed("the client failed (test's own error): %s" % [d.error for d in done])
    own = {"local_closed"} | ({"connection_lost"} if server.unix else set())
    wants = {"client": [Want("GET", d.target, outcomes=pairs({d.status}, own)) for d in done], "server": []}
    logged = {e.target: e.status for e in server.logged_when(c.mark, 2 * n, timeout=1.5)}
    for d in done:
        said = logged.get(d.target, False)
        if said not in (None, False, 200) or d.status not in (None, 200):
            raise Failed("the truths disagree (test's own error): %s: client %s, log %s" % (d.target, d.status, said))
        wants["server"].append(Want("GET", d.target, outcomes=client_gone(said, d.status is None, server.unix)))
    sides = [Side(role, server.port, w) for role, w in wants.items()]
    c.check(sides + aborted_behind(c, done, logged))
    return "%d requests, of those without an answer the server says %s" % (
        len(done), sorted({str(logged.get(d.target, "nothing")) for d in done if d.status is None}))


def aborted_behind(c, done, logged):
    """A front that says it sent nothing has given up the server behind; one that went on got the whole answer."""
    back = c.server.back
    if not back or not c.server.is_proxied("/delay/"):
        return []
    behind = {e.target: e.status for e in back.logged_when(c.mark, len(done), timeout=1.5)}
    client, server = [], []
    for d in done:
        said = behind.get(d.target, False)
        if d.status is None and logged.get(d.target) == 200:
            ends = pairs({200}, {None}), pairs({200}, {None})
        else:
            ends = pairs({d.status}, {"local_closed"}), client_gone(said, d.status is None, False)
        client.append(Want("GET", d.target, outcomes=ends[0]))
        server.append(Want("GET", d.target, outcomes=ends[1]))
    return [Side("client", back.port, client), Side("server", back.port, server)]


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


WARM = 1000
ATTEMPTS = 3
EXTRA = 25000  # ns; a step that took so much longer than it mostly does was interrupted
ROUNDING = 1000  # ns
ENOUGH = 0.25  # of the requests must not have been interrupted


class Timed:
    """One request's stamps, ns: the client's around it, the server's if it has them, and what sonde says, s."""

    def __init__(self, done, entry, server, client):
        self.done, self.entry = done, entry
        self.server, self.client = server * 1e9, client * 1e9
        self.stamped = entry.duration * 1e9
        self.whole = done.end - done.start

    def impossible(self, delay):
        """What no interruption of anybody can explain: reading comes after sending, and before what follows it."""
        d, e = self.done, self.entry
        bounds = [("client", self.client, delay, self.whole), ("server", self.server, delay, None)]
        if e.write:
            bounds = [("client", self.client, e.write - d.sent, self.whole), ("server", self.server, e.write - e.start, e.end - d.start)]
        return ["%s: %.1f µs, cannot be outside %.1f to %s" % (role, seen / 1e3, low / 1e3, "%.1f µs" % (high / 1e3) if high else "…")
                for role, seen, low, high in bounds if seen < low - ROUNDING or (high and seen > high + ROUNDING)]

    def steps(self, role):
        """The times between the system calls and the stamps beside them, which interruptions make longer."""
        d, e = self.done, self.entry
        if role == "client":
            return [d.sent - d.start] + ([d.end - e.end] if e.write else [])
        return [e.start - d.start, e.end - e.write] if e.write else [d.sent - d.start]





def calm(requests, role):
    """Those that were not interrupted, by the stamps of client and server: what sonde says has no part in it."""
    steps = [t.steps(role) for t in requests]
    usual = [percentile(column, 0.5) for column in zip(*steps)]
    return [t for t, own in zip(requests, steps) if all(a <= b + EXTRA for a, b in zip(own, usual)) and (role == "server" or not t.done.switches)]


def judge_durations(what, requests, role, resolution):
    """
    (what is wrong, offsets as text): p50 and p99 by 2 % or 50 µs, whichever is larger. And request by request: of a
    hundred one may differ by more, if there are stamps to tell which were interrupted.
    """
    chosen = calm(requests, role)
    truth = [t.stamped if role == "server" else t.whole for t in chosen]
    seen = [t.server if role == "server" else t.client for t in chosen]
    told = role == "client" or not resolution
    offsets = [(b - a) / 1e3 for a, b in zip(truth, seen)]
    text = "%+.0f/%+.0f/%+.0f of %d" % (percentile(offsets, 0.01), percentile(offsets, 0.5), percentile(offsets, 0.99), len(chosen))
    wrong = []
    if len(chosen) < ENOUGH * len(requests):
        wrong.append("%s: only %d of %d requests were not interrupted" % (what, len(chosen), len(requests)))
    for p in (0.5, 0.99):
        a, b = percentile(truth, p), percentile(seen, p)
        # a log of whole milliseconds is asked for one; a log without stamps does not say what was interrupted
        coarse = not told and (resolution >= 1e-3 or p > 0.5)
        if abs(b - a) > max(0.02 * a, 1e6 if coarse else 50e3):
            wrong.append("%s: p%d %.1f µs, stamped %.1f µs" % (what, p * 100, b / 1e3, a / 1e3))
    far = sum(abs(b - a) > max(0.02 * a, 50e3) for a, b in zip(truth, seen))
    if told and far > max(1, len(chosen) / 100):
        wrong.append("%s: %d of %d requests are off: %s µs" % (what, far, len(chosen), text))
    return wrong, text


@contextlib.contextmanager
def apart(group):
    """
    The client's CPU, which the servers keep off meanwhile: a client on the server's own CPU takes it over inside the
    server's write, before the server can stamp. None where there is one CPU only.
    """
    def servers_on(cpus):
        for pid in group.cgroup.pids():
            for tid in os.listdir("/proc/%d/task" % pid):
                with contextlib.suppress(ProcessLookupError):  # a thread that has just ended
                    os.sched_setaffinity(int(tid), cpus)

    cpus = os.sched_getaffinity(0)
    if len(cpus) < 2:
        yield None
        return
    servers_on(cpus - {max(cpus)})
    try:
        yield max(cpus)
    finally:
        servers_on(cpus)


def durations_once(c, mark, counts):
    """[differences], the offsets as text."""
    before = c.group.before()
    extra = {} if "keepalive" in c.server.features else {"h": {"Connection": "close"}}
    requests = [dict(m="GET", t="/delay/0?t=%swarm{n}" % mark, n=WARM, **extra), dict(m="GET", t="/delay/0?t=%s0.{n}" % mark, n=counts[0][1], **extra)]
    with apart(c.group) as cpu:
        done = c.run([{"requests": requests}], cpu=cpu)
        # those that sleep, by four clients: threads of one would wait for each other, not for the server
        clients = [c.group.client(c.server.target, [{"requests": [dict(m="GET", t="/delay/%d?t=%s%d.%d.{n}" % (ms, mark, ms, k), n=n, **extra)
                                                                 for ms, n in counts[1:]]}], cpu=cpu) for k in range(4)]
        done += [d for x in clients for d in x.result()]
    bad = [d for d in done if d.error]
    if bad:
        raise Failed("the client failed (test's own error): %s" % bad[0].error)
    lines = c.group.check(mark, clean_sides(c.server, done, mark), before)
    if not lines:
        return [], ""
    seen = {(x.role, x.target): x.duration for x in lines if x.port == c.server.port}
    logged = {e.target: e for e in c.server.logged(mark)}
    wrong, notes, impossible = [], [], []
    for ms, _ in counts:
        requests = [Timed(d, logged[d.target], seen["server", d.target], seen["client", d.target]) for d in done
                    if d.target.startswith("/delay/%d?" % ms) and "warm" not in d.target]
        impossible += ["%d ms, %s" % (ms, x) for t in requests for x in t.impossible(ms * 1000000)]
        texts = []
        for role in ("server", "client"):
            w, text = judge_durations("%d ms, %s" % (ms, role), requests, role, c.server.resolution)
            wrong += w
            texts.append(text)
        notes.append("%dms %s" % (ms, "|".join(texts)))
    if impossible:
        raise Failed(impossible[:4] + ["%d such durations" % len(impossible)] + notes)
    return wrong, ", ".join(notes)


def durations(c):
    """
    Per request, by its target: what sonde measured between what the server stamped and what our client did. No
    duration may lie where it cannot be. How near it is to the stamps is asked of the requests in which nothing took
    the CPU away between a system call and the stamp beside it, as the stamps themselves show; if they are too few or the
    machine hides it, again, twice. Counts are equal in each.
    """
    counts = ((0, 300), (5, 50), (50, 5)) if c.quick else ((0, 1000), (5, 50), (50, 25))
    before = []
    for attempt in range(ATTEMPTS):
        wrong, notes = durations_once(c, c.mark if not attempt else new_mark(c.mark + "again"), counts)
        if not wrong:
            return "offsets µs " + notes + (" AFTER " + "; ".join(before) if before else "")
        before += wrong
    raise Failed(before + ["offsets p1/p50/p99 in µs, server|client: " + notes])


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
