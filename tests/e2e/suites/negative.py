# SPDX-License-Identifier: Apache-2.0
"""Traffic that is not HTTP makes no call, no metric and no loss."""
import json
import os
import sys
import time

from lib.proc import HERE, Process, wait_for
from lib.report import Failed
from lib.sonde import losses
from servers.handlers import Threads

from .dialogues import NOT_HTTP, UPGRADED
from .group import Group, clean_sides, new_mark

LATE = 1.5  # a call shows within a second of its last byte


def play(group, dialogues):
    base = os.path.join(group.work, "dialogues")
    with open(base + ".json", "w") as f:
        json.dump([{"name": name, "script": [[who, data.decode("latin-1")] for who, data in script]} for name, script in dialogues], f)
    p = Process([sys.executable, os.path.join(HERE, "clients", "talk.py"), base + ".json", base + ".ports"], "talk", group.work, cgroup=group.cgroup)
    if p.wait(30):
        raise RuntimeError("talk.py: " + p.text(err=True))
    with open(base + ".ports") as f:
        return json.load(f)


def judge(group, port, expected):
    lines = [x for x in group.sonde.lines if port in (x.raw.get("local_port"), x.raw.get("peer_port"))]
    if expected is None:
        if lines:
            raise Failed("a call: %s" % lines[0].raw)
        return ""
    method, path, status = expected
    for role in ("client", "server"):
        mine = [x for x in lines if x.role == role]
        if len(mine) != 1 or (mine[0].method, mine[0].status) != (method, status) or (path and mine[0].target != path):
            raise Failed("%s: wanted one %s %s %s, got %s" % (role, method, path or "", status, [x.raw for x in mine]))
        group.made[role] += 1
    return "one call, then silence"


def nothing_else(group, before):
    """The metrics know no more calls than the lines do, and nothing was lost."""
    after = group.sonde.scrape()
    bad = []
    for role in ("server", "client"):
        name = "http_%s_request_duration_seconds_count" % role
        seen = int(after.sum(name) - before.sum(name))
        lines = sum(1 for x in group.sonde.lines if x.role == role)
        if seen != lines:
            bad.append("%s is %d, the lines are %d" % (name, seen, lines))
    if losses(after) != losses(before):
        bad.append("lost: %s" % losses(after))
    active = after.sum("http_server_active_requests") + after.sum("http_client_active_requests")
    if active:
        bad.append("%g requests are still active" % active)
    if bad:
        raise Failed(bad)


def still_alive(group, server):
    """Sonde still sees HTTP after all that."""
    mark = new_mark("negative")
    before = group.before()
    done = group.client(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=10)]}]).result()
    group.check(mark, clean_sides(server, done, mark), before)


def run(report, options):
    names = ["negative/" + x[0] for x in NOT_HTTP + UPGRADED]
    if report.listing:
        for n in names:
            report.cell(n, None)
        return
    if options.truth_only or not any(report.wanted(n) for n in names + ["negative/after"]):
        return
    group = Group(options, "negative")
    try:
        server = group.start(Threads())
        group.start_sonde()
        before = group.before()
        ports = play(group, [x[:2] for x in NOT_HTTP + UPGRADED])
        time.sleep(LATE)
        group.sonde.read()
        for name, _, *expected in NOT_HTTP + UPGRADED:
            report.cell("negative/" + name, lambda: judge(group, ports[name], expected[0] if expected else None))
        report.cell("negative/metrics", lambda: nothing_else(group, before))
        report.cell("negative/after", lambda: still_alive(group, server))
        if report.only is None:
            report.cell("negative/totals", group.totals)
    except Exception as e:
        def fail(error=e):
            raise error
        report.cell("negative/start", fail, always=True)
    finally:
        group.close()
