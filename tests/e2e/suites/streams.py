# SPDX-License-Identifier: Apache-2.0
"""
Long answers and idle connections: one call, counted when it ends, active meanwhile, and told within a second
of its last byte although the connection stays.
"""
import itertools
import os
import sys
import time

from lib.proc import HERE, Process, wait_for
from lib.report import Failed
from lib.truth import Side, Want
from servers.base import Server

from .group import Group, new_mark

_numbers = itertools.count(1)
LATEST = 1.5  # a second, and what the tick and this test's own looking take
HALF = 1000000


class Streams(Server):
    name = "streams"

    def argv(self, work):
        self.gate = os.path.join(work, "gate")
        return [sys.executable, os.path.join(HERE, "apps", "streams.py"), self.where, self.log_path, self.gate]

    def open_gate(self, n):
        open("%s.%d" % (self.gate, n), "w").close()

    def end_of(self, target):
        """When the answer's last byte was written, and the answer's size."""
        def logged():
            if os.path.exists(self.log_path):
                with open(self.log_path) as f:
                    for line in f:
                        if line.split(" ")[0] == target and line.endswith("\n"):
                            return int(line.split(" ")[2]) / 1e9, int(line.split(" ")[1])
            return None
        return wait_for(logged, 5, "the server's log of " + target)


class Stepper:
    """clients/steps.py, driven from here."""

    def __init__(self, group, server, inside=True):
        read, self.write = os.pipe()
        with os.fdopen(read) as stdin:
            self.proc = Process([sys.executable, "-S", "-E", os.path.join(HERE, "clients", "steps.py"), server.where],
                                "steps-%d" % next(_numbers), group.work, cgroup=group.cgroup if inside else None,
                                stdin=stdin)
        self.seen = 0
        self._answer("connect")

    def _answer(self, what):
        def said():
            if not self.proc.alive():
                raise RuntimeError("client ended: " + self.proc.text(err=True))
            lines = self.proc.text(limit=10**6).split("\n")[:-1]
            return lines[self.seen] if len(lines) > self.seen else None
        line = wait_for(said, 15, "client: " + what)
        self.seen += 1
        if not line.startswith("ok "):
            raise RuntimeError("client: %s: %s" % (what, line))
        return int(line[3:])

    def do(self, *words):
        os.write(self.write, (" ".join(str(w) for w in words) + "\n").encode())
        return self._answer(words[0])

    def end(self):
        os.close(self.write)
        self.proc.wait(5)


def told(group, role, target, since, what):
    """The line of this call; it must come within LATEST of `since` (CLOCK_MONOTONIC)."""
    def there():
        group.sonde.read()
        return [x for x in group.sonde.lines if x.role == role and x.target == target]
    try:
        lines = wait_for(there, LATEST + 3 - max(0, time.monotonic() - since), "line")
    except TimeoutError:
        raise Failed("%s: no line of the %s role" % (what, role))
    late = time.monotonic() - since
    if late > LATEST:
        raise Failed("%s: the %s role's line came %.2f s after the last byte" % (what, role, late))
    return lines[0], late


def active(group):
    s = group.sonde.scrape()
    return tuple(int(s.sum("http_%s_active_requests" % role)) for role in ("server", "client"))


def active_is(group, want, what):
    try:
        wait_for(lambda: active(group) == want, 2, what)
    except TimeoutError:
        raise Failed("%s: active requests (server, client) %s, were %s" % (what, active(group), want))


def both(server, target, size):
    return [Side(role, server.port, [Want("GET", target, 200, 0, size, False)]) for role in ("server", "client")]


def long_answer(group, server, path, number, begin, finish):
    """One call while it lasts, and when it has ended."""
    mark = new_mark("streams")
    target = "%s?n=%d&t=%s" % (path, number, mark)
    before = group.before()
    client = Stepper(group, server)
    start = time.monotonic()
    client.do("send", target)
    begin(client)
    active_is(group, (1, 1), "while it lasts")
    time.sleep(max(0, 1.3 - (time.monotonic() - start)))
    group.sonde.read()
    if any(mark in x.target for x in group.sonde.lines) or active(group) != (1, 1):
        raise Failed("told before its end, or no longer active: %s" % (active(group),))
    server.open_gate(number)
    finish(client)
    end, size = server.end_of(target)
    lates = [told(group, role, target, end, path)[1] for role in ("server", "client")]
    lines = group.check(mark, both(server, target, size), before)
    active_is(group, (0, 0), "after its end")
    for x in lines:
        if not end - start - 0.1 < x.duration < end - start + 0.1:
            raise Failed("%s: %.3f s, was %.3f s" % (x.role, x.duration, end - start))
    # the connection goes on
    again = "/get?t=%sagain" % mark
    before = group.before()
    client.do("send", again)
    client.do("head")
    client.do("read", 2)
    group.check(mark + "again", both(server, again, 2), before)
    client.end()
    return "%.1f s, told %.2f s after its end" % (end - start, max(lates))


def sse(group, server):
    return long_answer(group, server, "/sse", 1, lambda c: c.do("head"), lambda c: c.do("chunks"))


def download(group, server):
    def begin(c):
        c.do("head")
        c.do("read", HALF)
    return long_answer(group, server, "/slow", 2, begin, lambda c: c.do("read", HALF))


def keepalive(group, server):
    """Told at once although the connection then stays idle."""
    mark = new_mark("streams-idle")
    target = "/get?t=" + mark
    before = group.before()
    client = Stepper(group, server)
    client.do("send", target)
    client.do("head")
    client.do("read", 2)
    end, size = server.end_of(target)
    lates = [told(group, role, target, end, "keep-alive")[1] for role in ("server", "client")]
    group.check(mark, both(server, target, size), before)
    client.end()
    return "told %.2f s after its last byte" % max(lates)


def closes(group, server, client_reads_end):
    """
    An answer that ends with its connection. The server has closed; the client has read the end and stays with its socket
    open, or has not looked yet: then the answer has not ended for it.
    """
    mark = new_mark("streams-close")
    target = "/close?t=" + mark
    before = group.before()
    client = Stepper(group, server)
    client.do("send", target)
    client.do("head")
    client.do("rest" if client_reads_end else "read", *([] if client_reads_end else [12]))
    end, size = server.end_of(target)
    lates = [told(group, "server", target, end, "server closed")[1]]
    sides = both(server, target, size)
    timed = client_reads_end or not server.unix
    if client_reads_end:
        lates.append(told(group, "client", target, end, "client idle")[1])
    else:
        client.do("close")
        line = told(group, "client", target, time.monotonic(), "client closed")[0]
        if not timed:
            # both sockets are gone without a word: what passed behind the head may be unknown, but not wrong
            if line.duration is not None and line.duration < 0.04:
                raise Failed("the client's call took 0.04 s and more, told as %s" % line.duration)
            sides[1].wants[0].resp = None
    group.check(mark, sides, before, metrics=timed)
    if not timed:
        after = group.sonde.scrape()
        moved = [after.sum(n) - before.sum(n) for n in ("http_client_request_duration_seconds_count", "sonde_calls_untimed_total")]
        if sum(moved) != 1:
            raise Failed("durations and calls without one moved by %s, was one call" % moved)
    client.end()
    return "told %.2f s after its last byte" % max(lates)


def joined_late(options):
    """sonde starts in the middle of a download: that one is nobody's call, the next is counted."""
    group = Group(options, "streams-late")
    try:
        server = group.start(Streams())
        client = Stepper(group, server)
        mark = new_mark("streams-late")
        first, second = "/slow?n=9&t=%sfirst" % mark, "/get?t=%ssecond" % mark
        client.do("send", first)
        client.do("head")
        client.do("read", HALF)
        group.start_sonde()
        server.open_gate(9)
        client.do("read", HALF)
        server.end_of(first)
        before = group.before()
        client.do("send", second)
        client.do("head")
        client.do("read", 2)
        group.check(mark, both(server, second, 2), before)
        client.end()
        time.sleep(1.1)
        return group.totals()
    finally:
        group.close()


def run_group(report, options):
    group = Group(options, "streams")
    try:
        tcp = group.start(Streams())
        unix = Streams(unix=os.path.join(group.work, "streams.sock"))
        unix.name = "streams-unix"
        group.start(unix)
        group.start_sonde()
        report.cell("streams/sse", lambda: sse(group, tcp))
        report.cell("streams/download", lambda: download(group, tcp))
        for server, name in ((tcp, "tcp"), (unix, "unix")):
            report.cell("streams/keepalive-" + name, lambda: keepalive(group, server))
            report.cell("streams/close-client-idle-" + name, lambda: closes(group, server, True))
            report.cell("streams/close-unread-" + name, lambda: closes(group, server, False))
        report.cell("streams/totals", group.totals)
    finally:
        group.close()


def run(report, options):
    cells = ["sse", "download"] + [x + "-" + y for y in ("tcp", "unix") for x in ("keepalive", "close-client-idle", "close-unread")]
    cells = ["streams/" + c for c in cells + ["totals"]]
    if report.listing:
        for c in cells + ["streams/joined-late"]:
            report.cell(c, None)
        return
    if options.truth_only:
        return
    if any(report.wanted(c) for c in cells):
        try:
            run_group(report, options)
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("streams/start", fail, always=True)
    report.cell("streams/joined-late", lambda: joined_late(options))
