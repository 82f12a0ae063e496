# SPDX-License-Identifier: Apache-2.0
"""
A group: one cgroup, its servers and clients, one sonde scoped to it, and the cells that are run
one after the other. Each cell has a mark of its own in every target (?t=MARK), so a call belongs to
its cell; metrics are compared by how far they moved during it.
"""
import itertools
import os
import shutil
import time

from lib.cgroup import Cgroup
from lib.client import RawClient
from lib.report import Failed
from lib.sonde import Sonde, losses
from lib.truth import Side, Want, account, compare, compare_metrics

_numbers = itertools.count(1)
SETTLE = 4.0  # a call is reported within a second of its last byte
SETTLE_LOST = 6.0  # and a sweep of the connections, which finds what a loss left behind
LOSING = 3  # attempts: a machine that stops in the middle of one is no fault of sonde's


def without_loss(once):
    """once(attempt) → (text, lost by reason, all of it accounted for). A full ring is tried again, nothing else is."""
    notes = []
    for attempt in range(LOSING):
        text, lost = once(attempt)
        notes.append(text + (" LOST %s" % lost if lost else ""))
        if not lost:
            return "; again: ".join(notes)
        if not lost.get("ring_full"):
            raise Failed(["lost calls, and the ring had room"] + notes)
    raise Failed(["lost calls in each of %d attempts, all of them counted" % LOSING] + notes)


class Group:
    def __init__(self, options, name):
        self.options, self.name = options, name
        self.work = os.path.join(options.work, name)
        os.makedirs(self.work)
        os.chmod(self.work, 0o755)
        self.cgroup = Cgroup()
        self.sonde = None
        self.made = {"server": 0, "client": 0}
        self.servers, self.marks = [], []
        self.lost = 0  # what a cell found lost, and accounted for to the last message

    def start_sonde(self, args=(), env=None, scopes=None, **kw):
        if not self.options.truth_only:
            self.sonde = Sonde(self.options.sonde, scopes or ["cgroup:" + self.cgroup.path], self.work, args, env, **kw)
        return self.sonde

    def start(self, server):
        server.build()
        self.servers.append(server)
        server.start(self.cgroup, self.work)
        return server

    def close(self):
        if self.sonde:
            self.sonde.proc.kill()
        for s in self.servers:
            s.stop()
        self.cgroup.remove()

    def forget(self):
        """The outputs of a group without failures are not kept."""
        if not self.options.keep:
            shutil.rmtree(self.work, ignore_errors=True)

    def client(self, target, conns, **kw):
        return RawClient(target, conns, self.cgroup, self.work, **kw)

    def _expect(self, mark, sides):
        self.marks.append(mark)
        for side in sides:
            self.made[side.role] += len(side.wants)

    def _settled(self, mark, differences, seconds):
        """(lines, scrape) once `differences` of them are none; raises them when the time is over."""
        end = time.monotonic() + seconds
        while True:
            self.sonde.read()
            after = self.sonde.scrape()
            lines = [x for x in self.sonde.lines if mark in x.target]
            bad = differences(lines, after)
            if not bad or time.monotonic() > end:
                break
            time.sleep(0.02)
        if not self.sonde.proc.alive():
            bad.append("sonde has died: %s" % self.sonde.proc.text(err=True, limit=1500))
        if bad:
            raise Failed(bad)
        return lines, after

    def check(self, mark, sides, before, metrics=True, unreadable=None):
        """
        Waits until sonde's calls of this mark and its metrics are what was made, for as long as it
        promises to need; then says what differs. Returns the calls. At the side `unreadable` (role, port)
        calls may be missing, if they are counted as lost.
        """
        self._expect(mark, sides)
        if not self.sonde:
            return []
        lines, after = self._settled(mark, lambda lines, after: self._differences(sides, lines, before, after, metrics, unreadable), SETTLE)
        if unreadable:
            self.lost += sum(lost_between(before, after).values())
        return lines

    def _differences(self, sides, lines, before, after, metrics, unreadable):
        bad = []
        made = sum(len(s.wants) for s in sides)
        for side in sides:
            bad += compare(side, lines, (side.role, side.port) == unreadable)
        bad += strangers(sides, lines)
        if metrics:
            bad += compare_metrics(sides, lines, before, after, unreadable)
        lost = lost_between(before, after)
        if lost and not unreadable:
            bad.append("lost: %s" % lost)
            reported = sum(after.sum(n) - before.sum(n) for n in ("http_server_request_duration_seconds_count",
                                                                  "http_client_request_duration_seconds_count"))
            if reported + sum(lost.values()) != made:
                bad.append("and %d made are not %d reported + %d lost" % (made, reported, sum(lost.values())))
        if unreadable and len(lines) + sum(lost.values()) != made:
            bad.append("%d reported and %s lost, were %d" % (len(lines), lost, made))
        dropped = unprinted(after) - unprinted(before)
        if dropped:
            bad.append("%d lines were dropped" % dropped)
        return bad

    def check_flood(self, mark, sides, before):
        """
        The same for as many calls as the machine can make. The live view may drop lines, which it counts:
        lines + dropped = calls. And a machine that does not run sonde for a while makes it lose calls:
        made = calls + losses by reason then, per role, method, status and error as far as it can be told. Anything else
        raises. Returns (lines, lost by reason).
        """
        self._expect(mark, sides)
        if not self.sonde:
            return [], {}

        def differences(lines, after):
            lost = lost_between(before, after)
            calls, bad = account(sides, before, after, lost)
            for side in sides:
                bad += compare(side, lines, True)
            bad += strangers(sides, lines)
            dropped = unprinted(after) - unprinted(before)
            if len(lines) + dropped != calls:
                bad.append("%d lines and %d dropped, were %d calls" % (len(lines), dropped, calls))
            return bad
        lines, after = self._settled(mark, differences, SETTLE_LOST)
        if lost_between(before, after):
            time.sleep(1.2)  # nothing is told twice, late
            lines, after = self._settled(mark, differences, 0)
        lost = lost_between(before, after)
        self.lost += sum(lost.values())
        return lines, lost

    def before(self):
        return self.sonde.scrape() if self.sonde else None

    def totals(self):
        """After the last cell: sonde ends in order, and never said more than was compared."""
        last = self.sonde.scrape()
        self.dropped, lost = unprinted(last), losses(last)
        wrong = self.sonde.stop()
        if wrong:
            raise Failed(wrong)
        bad = []
        made, seen = sum(self.made.values()), len(self.sonde.lines)
        if seen + self.dropped + self.lost != made:
            bad.append("%d calls in all, %d dropped lines and %d accounted losses, were %d; of no cell: %s"
                       % (seen, self.dropped, self.lost, made, self._strangers()))
        malformed = last.sum("sonde_records_lost_total", kind="malformed")
        if malformed:
            bad.append("%d records made no sense" % malformed)
        if sum(lost.values()) != self.lost:
            bad.append("%s lost in all, %d of them accounted for in a cell" % (lost, self.lost))
        errors = [x for x in self.sonde.proc.text(err=True, limit=100000).split("\n")
                  if "level=error" in x or "ERROR:" in x or "runtime error" in x]
        if errors:
            bad.append("sonde's log: %s" % errors[0])
        if bad:
            raise Failed(bad)
        return "%(server)d server and %(client)d client calls" % self.made + (", %d of them lost and counted" % self.lost if self.lost else "")

    def _strangers(self):
        return [x.raw for x in self.sonde.lines if not any(m in x.target for m in self.marks)][:2]


def lost_between(before, after):
    """{reason: messages}"""
    old = losses(before)
    return {k: v - old.get(k, 0) for k, v in losses(after).items() if v != old.get(k, 0)}


def strangers(sides, lines):
    known = {(s.role, s.port) for s in sides}
    strange = [x for x in lines if (x.role, x.port) not in known]
    return ["%d calls of no side: %s" % (len(strange), strange[0].raw)] if strange else []


def unprinted(scrape):
    """Lines that the live view dropped because its reader was too slow; it counts them."""
    return int(scrape.sum("sonde_exporter_dropped_total", exporter="print"))


def new_mark(name):
    return "%s.%d." % (name, next(_numbers))


def wants_of(done, error=None):
    """What the client role must show: what our client saw."""
    ret = []
    for d in done:
        cut = d.error is not None
        ret.append(Want(d.method, d.target, d.status, None if cut else d.req, None if cut else d.resp, cut if error is None else error))
    return ret


def same_as_log(done, logged, strict=True):
    """The two truths must agree before anything is compared with them."""
    def count(items):
        ret = {}
        for x in items:
            key = (x.method, x.target, x.status if strict else None)
            ret[key] = ret.get(key, 0) + 1
        return ret
    a, b = count(done), count(logged)
    if a != b:
        keys = [k for k in set(a) | set(b) if a.get(k, 0) != b.get(k, 0)]
        raise Failed("the truths disagree (test's own error): %d targets, %s: client %d, log %d"
                     % (len(keys), keys[0], a.get(keys[0], 0), b.get(keys[0], 0)))


def clean_sides(server, done, mark):
    """The sides of requests that were all answered: client's truth on the client role, the log's on the server role."""
    logged = server.logged_when(mark, len(done))
    same_as_log(done, logged)
    by_target = {(d.method, d.target): d for d in done}
    wants = []
    for e in logged:
        d = by_target[(e.method, e.target)]
        wants.append(Want(e.method, e.target, e.status, d.req if e.req is None else e.req, d.resp if e.resp is None else e.resp, False))
    sides = [Side("client", server.port, wants_of(done)), Side("server", server.port, wants)]
    return sides + back_sides(server, done, mark)


def back_sides(server, done, mark, loose=False):
    """The connection between a front and the server behind it: what that one logged, on both roles."""
    if not server.back:
        return []
    passed = [d for d in done if server.is_proxied(d.target)]
    logged = server.back.logged_when(mark, len(passed))
    if not loose:
        same_as_log(passed, logged)
    wants = []
    for e in logged:
        if loose:
            wants.append(Want(e.method, e.target, {None, e.status, 200}))
        else:
            wants.append(Want(e.method, e.target, e.status, e.req, e.resp, False))
    return [Side("client", server.back.port, wants), Side("server", server.back.port, list(wants))]
