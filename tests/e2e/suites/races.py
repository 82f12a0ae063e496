# SPDX-License-Identifier: Apache-2.0
"""
Ends that meet what is still being written, on two CPUs: thousands of connections each, every one of which is a race. Each
request is a call at both ends, nothing is lost, and nothing stays behind.
"""
import os
import time

from lib.proc import HERE, Process, which
from lib.report import Failed

from servers.handlers import cached, run as run_program

from .group import SETTLE_LOST, Group, lost_between

WAYS = (("half-close", 4000), ("close", 4000), ("pipeline", 4000), ("reconnect", 200))
COUNTS = {role: "http_%s_request_duration_seconds_count" % role for role in ("server", "client")}


def build():
    source = os.path.join(HERE, "clients", "races.c")
    folder = cached("races", [source], lambda f: run_program(["cc", "-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-pthread", "-o",
                                                              os.path.join(f, "races"), source], f))
    return os.path.join(folder, "races")


def race(group, program, way, count):
    before = group.sonde.scrape()
    p = Process([program, way, str(count)], "races-" + way, group.work, cgroup=group.cgroup)
    if p.wait(60) != 0:
        raise RuntimeError("races: " + p.text(err=True))
    made = int(p.text())
    end = time.monotonic() + SETTLE_LOST
    while True:
        after = group.sonde.scrape()
        have = {role: int(after.sum(name) - before.sum(name)) for role, name in COUNTS.items()}
        lost = lost_between(before, after)
        active = {role: int(after.sum("http_%s_active_requests" % role)) for role in COUNTS}
        open_ = int(after.sum("sonde_tcp_connections_active"))
        good = all(n == made for n in have.values()) and not lost and not any(active.values()) and not open_
        if good or time.monotonic() > end:
            break
        time.sleep(0.05)
    malformed = after.sum("sonde_records_lost_total", kind="malformed")
    # an answer that the client leaves unread is its own doing
    failed = int(after.sum(COUNTS["server"]) - after.sum(COUNTS["server"], http_response_status_code="200")
                 - after.sum(COUNTS["server"], http_response_status_code="201"))
    if not good or malformed or failed:
        raise Failed("%d made, %s counted, lost %s, active %s, %d connections open, %d records made no sense, %d calls without their status"
                     % (made, have, lost, active, open_, malformed, failed))
    return "%d requests" % made


def run(report, options):
    if options.truth_only:
        return
    names = ["races/" + way for way, _ in WAYS]
    if not report.listing and (not which("cc") or os.cpu_count() < 2):
        for name in names:
            report.skip(name, "no C compiler" if not which("cc") else "one CPU")
        return
    group = None
    try:
        if not report.listing:
            program = build()
            group = Group(options, "races")
            group.start_sonde(["--print=none"])
        for name, (way, count) in zip(names, WAYS):
            report.cell(name, lambda way=way, count=count: race(group, program, way, count // (4 if options.quick else 1)))
    finally:
        if group:
            group.close()
