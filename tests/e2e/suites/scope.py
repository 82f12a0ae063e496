# SPDX-License-Identifier: Apache-2.0
"""What is out of scope is never read: no event, no call, no mention anywhere."""
import os
import sys
import time

from lib.client import RawClient
from lib.proc import HERE, Process, free_port, listener_in_proc, wait_for
from lib.report import Failed
from lib.truth import Side
from servers.handlers import Threads

from .group import Group, clean_sides, new_mark, wants_of

APP = os.path.join(HERE, "apps", "threads.py")


class Outside:
    """A server and a client in no cgroup of ours. They are started by us and end with the suite."""

    def __init__(self, group, server):
        self.server, self.work = server, group.work
        server.build()
        server.start(None, os.path.join(group.work))

    def talk(self, mark, n=50):
        conns = [{"requests": [dict(m="GET", t="/get/1?t=%s%d.{n}" % (mark, k), n=n)]} for k in range(2)]
        conns.append({"requests": [dict(m="POST", t="/echo?t=%sp{n}" % mark, n=5, body=100000)]})
        done = RawClient(self.server.target, conns, None, self.work, name="outside").result()
        if any(d.status != 200 for d in done):
            raise Failed("the outside client failed (test's own error)")
        return done


def outside_is_unread(group, outside, inside):
    events = ("sonde_events_total", "sonde_events_lost_total", "sonde_unreadable_bytes_total", "sonde_calls_total")

    def numbers():
        s = group.sonde.scrape()
        return {(x.name, tuple(sorted(x.labels.items()))): x.value for name in events for x in s.by_name.get(name, [])}
    mark = "outside-secret-%d" % os.getpid()
    before = numbers()
    done = outside.talk(mark)
    time.sleep(1.2)
    after = numbers()
    if not before:
        raise Failed("sonde_events_total is not there")
    moved = {k: (before.get(k, 0), v) for k, v in after.items() if before.get(k, 0) != v}
    if moved:
        raise Failed("counters moved by what is outside: %s" % moved)
    # and together with traffic inside
    inside_mark = new_mark("scope")
    scrape = group.before()
    client = group.client(inside.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % inside_mark, n=100)]}])
    outside.talk(mark + "-again")
    group.check(inside_mark, clean_sides(inside, client.result(), inside_mark), scrape)
    group.sonde.read()
    texts = {"a call": "".join(str(x.raw) for x in group.sonde.lines), "/metrics": group.sonde.scrape().text,
             "the log": group.sonde.proc.text(err=True, limit=10**7)}
    for what, text in texts.items():
        if mark in text:
            raise Failed("%s mentions what is outside" % what)
    port = outside.server.port
    if any(port in (x.raw.get("local_port"), x.raw.get("peer_port")) for x in group.sonde.lines):
        raise Failed("a call of the port that is outside")
    return "%d requests outside, no event" % (2 * len(done))


def cross(group, outside, inside):
    """A client inside calls a server outside and the other way round: each only the end that is in scope."""
    mark = new_mark("scope-cross")
    before = group.before()
    out = group.client(outside.server.target, [{"requests": [dict(m="GET", t="/get/1?t=%so{n}" % mark, n=20)]}]).result()
    into = RawClient(inside.target, [{"requests": [dict(m="GET", t="/get/1?t=%si{n}" % mark, n=20)]}], None, group.work, name="outside").result()
    group.check(mark, [Side("client", outside.server.port, wants_of(out)), Side("server", inside.port, wants_of(into))], before)
    return "40 requests"


def cgroup_cells(report, options):
    group = Group(options, "scope")
    outside = None
    try:
        inside = group.start(Threads())
        server = Threads()
        server.name = "outside"
        outside = Outside(group, server)
        group.start_sonde()
        report.cell("scope/outside-unread", lambda: outside_is_unread(group, outside, inside))
        report.cell("scope/cross", lambda: cross(group, outside, inside))
        report.cell("scope/totals", group.totals, always=True)
    finally:
        if outside:
            outside.server.stop()
        group.close()


def pid_scope(options):
    """--scope=pid: a shell, the server it has started and one it starts later; not the client beside them."""
    group = Group(options, "scope-pid")
    try:
        ports = [free_port(), free_port()]
        log = os.path.join(group.work, "access.log")
        go = os.path.join(group.work, "go")
        script = '%s %s %d %s & while [ ! -e %s ]; do sleep 0.05; done; %s %s %d %s & wait' % (
            sys.executable, APP, ports[0], log, go, sys.executable, APP, ports[1], log)
        root = Process(["/bin/sh", "-c", script], "tree", group.work)
        try:
            wait_for(lambda: listener_in_proc(ports[0]), 10, "first server")
            group.start_sonde(scopes=["pid:%d" % root.pid])
            open(go, "w").close()
            wait_for(lambda: listener_in_proc(ports[1]), 10, "second server")
            mark = new_mark("scope-pid")
            before = group.before()
            sides = []
            for port in ports:
                done = RawClient(["127.0.0.1", port], [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=30)]}], None, group.work).result()
                sides.append(Side("server", port, wants_of(done)))
            group.check(mark, sides, before)
            group.totals()
            return "60 requests"
        finally:
            root.kill()
    finally:
        group.close()


def moved(options):
    """A process that is moved into the cgroup is read from then on, and no more when it is moved out."""
    group = Group(options, "scope-moved")
    server = Threads()
    try:
        server.start(None, group.work)
        group.start_sonde()
        mark = new_mark("scope-moved")
        before = group.before()

        def talk(part):
            # without threads that were there before: a new connection is a new thread of the moved process
            return RawClient(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s%s{n}" % (mark, part), n=20)]}], None, group.work).result()

        def put(path):
            with open(os.path.join(path, "cgroup.procs"), "w") as f:
                f.write(str(server.proc.pid))
        talk("a")
        put(group.cgroup.path)
        inside = talk("b")
        put(os.path.dirname(group.cgroup.path))
        talk("c")
        group.check(mark, [Side("server", server.port, wants_of(inside))], before)
        time.sleep(1.1)
        group.totals()
        return "20 of 60 requests"
    finally:
        server.stop()
        group.close()


def run(report, options):
    cells = ["outside-unread", "cross", "pid", "moved"]
    if report.listing:
        for c in cells:
            report.cell("scope/" + c, None)
        return
    if options.truth_only:
        return
    if report.wanted("scope/outside-unread") or report.wanted("scope/cross"):
        try:
            cgroup_cells(report, options)
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("scope/start", fail, always=True)
    report.cell("scope/pid", lambda: pid_scope(options))
    report.cell("scope/moved", lambda: moved(options))
