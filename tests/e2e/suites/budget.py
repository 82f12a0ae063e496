# SPDX-License-Identifier: Apache-2.0
"""
One budget for all that decoders hold: hundreds of clients that never finish their request's head take
no more than it, an ordinary client beside them is not touched, and what was refused is counted.
"""
import os
import sys
import time

from lib.proc import HERE, Process, free_port, listener_in_proc, wait_for
from lib.report import Failed
from lib.sonde import losses

from .group import SETTLE, Group, unprinted

SLOW, SIZE, ORDINARY = 600, 60000, 200
ENDS = 2  # each connection shows at both
MIB = 1 << 20


class Slow:
    def __init__(self, group, port):
        read, self.write = os.pipe()
        with os.fdopen(read) as stdin:
            argv = [sys.executable, "-S", "-E", os.path.join(HERE, "clients", "slow.py"), str(port), str(SLOW), str(SIZE)]
            self.proc = Process(argv, "slow", group.work, cgroup=group.cgroup, stdin=stdin)
        self.seen = 0

    def answer(self):
        def said():
            if not self.proc.alive():
                raise RuntimeError("slow clients ended: " + self.proc.text(err=True))
            lines = self.proc.text(limit=100000).split("\n")[:-1]
            return lines[self.seen] if len(lines) > self.seen else None
        line = wait_for(said, 60, "slow clients")
        self.seen += 1
        return int(line.split()[1])

    def do(self, what):
        os.write(self.write, what.encode() + b"\n")
        return self.answer()


def all_read(port):
    """The server has read what was sent: nothing waits in its sockets."""
    with open("/proc/net/tcp") as f:
        rows = [line.split() for line in f][1:]
    return all(int(r[4].split(":")[1], 16) == 0 for r in rows if r[1].endswith(":%04X" % port) and r[3] == "01")


class Memory:
    def __init__(self, scrape):
        table = {"table": "decode_memory_bytes"}
        self.used = int(scrape.sum("sonde_table_entries", **table))
        self.limit = int(scrape.sum("sonde_table_limit", **table))
        self.refused = int(scrape.sum("sonde_table_refused_total", **table))
        self.anon = int(scrape.sum("sonde_resident_anonymous_memory_bytes"))


def same(bad, what, got, want):
    if got != want:
        bad.append("%s: %s, was %s" % (what, got, want))


def settled(group, look, want, bad, what):
    """`look` at a scrape until it is what it must be, for as long as sonde promises to need."""
    end = time.monotonic() + SETTLE
    while True:
        scrape = group.sonde.scrape()
        if look(scrape) == want or time.monotonic() > end:
            same(bad, what, look(scrape), want)
            return scrape
        time.sleep(0.05)


def calls_of(group, word):
    group.sonde.read()
    return {r: sum(1 for x in group.sonde.lines if x.role == r and x.target.startswith(word)) for r in ("server", "client")}


def ordinary(group, port, word, n):
    """Half on one connection, half on one each."""
    def one(i):
        return {"m": "GET", "t": "%s/%d" % (word, i)}
    conns = [{"requests": [one(i) for i in range(n // 2)]}] + [{"requests": [one(i)]} for i in range(n // 2, n)]
    done = group.client(["127.0.0.1", port], conns).result()
    if len(done) != n or any(d.status != 200 for d in done):
        raise Failed("not all were answered (test's own error)")


def slow_clients(group, port):
    bad = []
    ordinary(group, port, "/before", ORDINARY)
    settled(group, lambda s: int(s.sum("sonde_calls_total")), ENDS * ORDINARY, bad, "calls before")
    start = Memory(group.sonde.scrape())
    slow = Slow(group, port)
    same(bad, "slow connections", slow.answer(), SLOW)
    wait_for(lambda: all_read(port), 10, "the server to read what was sent")

    ordinary(group, port, "/beside", ORDINARY)
    scrape = settled(group, lambda s: int(s.sum("sonde_calls_total")), ENDS * 2 * ORDINARY, bad, "calls beside slow clients")
    same(bad, "calls of the client beside them", calls_of(group, "/beside"), {"server": ORDINARY, "client": ORDINARY})
    same(bad, "losses before anything ended", losses(scrape), {})
    full = Memory(scrape)
    # a sixteenth of what is free: with 64 KiB for each, the last 1 MiB stays for the small ones
    if not full.limit - 17 * 65536 < full.used <= full.limit:
        bad.append("%d bytes used of %d" % (full.used, full.limit))
    # the budget, half of it again for what malloc cannot give back, and 2 KiB for each end of a connection in the tables
    limit = full.limit * 3 // 2 + 2048 * ENDS * SLOW
    if full.anon - start.anon > limit:
        bad.append("RssAnon grew by %d bytes, more than %d" % (full.anon - start.anon, limit))

    half = SLOW // 2
    same(bad, "slow requests answered", slow.do("finish"), half)
    def told(s):
        return int(s.sum("sonde_calls_total")) - ENDS * 2 * ORDINARY + sum(losses(s).values())
    scrape = settled(group, told, ENDS * half, bad, "finished late: reported + lost")
    reported = int(scrape.sum("sonde_calls_total")) - ENDS * 2 * ORDINARY
    finished = losses(scrape)
    same(bad, "reasons", sorted(finished), ["decode_memory"])
    if not 0 < reported < ENDS * half:
        bad.append("%d of %d reported, some must have had room and some not" % (reported, ENDS * half))

    same(bad, "closed", slow.do("close"), SLOW)
    refused = Memory(scrape).refused - start.refused
    scrape = settled(group, lambda s: losses(s), {"decode_memory": refused}, bad, "losses when all have ended")
    scrape = settled(group, lambda s: Memory(s).used, 0, bad, "bytes used when all are gone")
    same(bad, "records that made no sense", int(scrape.sum("sonde_records_lost_total")), 0)
    same(bad, "lines dropped", unprinted(scrape), 0)
    ordinary(group, port, "/after", ORDINARY)
    settled(group, lambda s: int(s.sum("sonde_calls_total")), reported + ENDS * 3 * ORDINARY, bad, "calls after")
    same(bad, "calls after", calls_of(group, "/after"), {"server": ORDINARY, "client": ORDINARY})
    note = "%d connections: %.1f MiB of %.1f used, RssAnon +%.1f MiB; %d of %d finished late reported, %d lost in all" % (
        SLOW, full.used / MIB, full.limit / MIB, (full.anon - start.anon) / MIB, reported, ENDS * half, refused)
    if bad:
        raise Failed(bad + [note])
    return note


def run(report, options):
    name = "budget/slow-clients"
    if report.listing:
        report.cell(name, None)
        return
    if options.truth_only or not report.wanted(name):
        return
    group = Group(options, "budget")
    server = None

    def cell():
        nonlocal server
        port = free_port()
        server = Process([sys.executable, os.path.join(HERE, "apps", "anything.py"), str(port)], "anything", group.work,
                         cgroup=group.cgroup)
        wait_for(lambda: listener_in_proc(port), 10, "server")
        group.start_sonde(["--capture.ring-size=32MiB"])  # what is lost must be lost for want of the other memory
        return slow_clients(group, port)
    try:
        report.cell(name, cell)
    finally:
        if server:
            server.kill()
        group.close()
