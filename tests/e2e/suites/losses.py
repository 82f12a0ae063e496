# SPDX-License-Identifier: Apache-2.0
"""
A full ring: requests made = calls + losses by reason, exactly, at both roles together (they share the
counters), whether the reader is too slow or stands still; and no call that is reported is made up.
"""
import re
import signal
import time

from lib.client import ab, url_of
from lib.proc import Process, wait_for, which
from lib.report import Failed
from lib.sonde import losses

from .group import Group
from .wait import Static

SETTLED = 6.0  # a sweep of the connections, and the second that a call may take
COUNT = "http_%s_request_duration_seconds_count"


def calls(scrape):
    return int(scrape.sum("sonde_calls_total"))


def is_ok(sample):
    return sample.labels.get("http_response_status_code") == "200" and not sample.labels.get("error_type")


def judge(group, before, requests, must_lose):
    """`requests` were made, and answered with 200; each shows at two ends."""
    lost_before = sum(losses(before).values())

    def all_told():
        s = group.sonde.scrape()
        return s if calls(s) - calls(before) + sum(losses(s).values()) - lost_before >= 2 * requests else None
    try:
        after = wait_for(all_told, SETTLED, "counts")
    except TimeoutError:
        after = group.sonde.scrape()
    time.sleep(1.2)  # one tick more: nothing may be counted twice, late
    after = group.sonde.scrape()
    seen, lost = calls(after) - calls(before), {k: n - losses(before).get(k, 0) for k, n in losses(after).items()}
    note = "%d made at two ends, %d calls, lost %s, %d records" % (
        requests, seen, lost, after.sum("sonde_records_lost_total") - before.sum("sonde_records_lost_total"))
    bad = []
    if seen + sum(lost.values()) != 2 * requests:
        bad.append("not exact by %d" % (seen + sum(lost.values()) - 2 * requests))
    for role in ("server", "client"):
        wrong = [s for s in after.get(COUNT % role) if not is_ok(s)]
        if wrong:
            bad.append("calls that were not made: %s" % wrong[0])
    if must_lose and not sum(lost.values()):
        bad.append("nothing was lost (test's own error)")
    if bad:
        raise Failed(bad + [note])
    return note


def flat_out(group, server, requests):
    before = group.sonde.scrape()
    ab(server.target, "/page?a", requests, group.cgroup, group.work)
    return judge(group, before, requests, False)


def stalled(group, server, requests, keepalive, seconds):
    """The reader stands still while the load goes on, then wakes up, mostly before the load is over."""
    before = group.sonde.scrape()
    options = ["-q", "-n", str(requests), "-c", "16"] + (["-k"] if keepalive else [])
    load = Process([which("ab")] + options + [url_of(server.target, "/page?b")], "ab-stalled-%d" % keepalive, group.work,
                   cgroup=group.cgroup)
    wait_for(lambda: calls(group.sonde.scrape()) > calls(before), 5, "the load's first calls")
    group.sonde.proc.p.send_signal(signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        group.sonde.proc.p.send_signal(signal.SIGCONT)
    if load.wait(60) != 0:
        raise RuntimeError("ab: " + load.text(err=True))
    done = re.search(r"Complete requests:\s+(\d+)\nFailed requests:\s+(\d+)", load.text())
    if not done or done.groups() != (str(requests), "0") or "Non-2xx" in load.text():
        raise RuntimeError("ab: " + load.text())
    return judge(group, before, requests, True)


def run(report, options):
    server = Static()
    n, stall = (1, 0.5) if options.quick else (4, 2)
    cells = [("losses/flat-out", lambda g: flat_out(g, server, 10000 * n)),
             ("losses/stalled", lambda g: stalled(g, server, 40000 * n, True, stall)),
             ("losses/stalled-one-shot", lambda g: stalled(g, server, 10000 * n, False, stall)),
             ("losses/after", lambda g: flat_out(g, server, 1000))]
    if report.listing:
        for name, _ in cells:
            report.cell(name, None)
        return
    if options.truth_only or not any(report.wanted(name) for name, _ in cells):
        return
    why = server.unavailable() or (None if which("ab") else "ab is not installed (apache2-utils)")
    if why:
        for name, _ in cells:
            report.skip(name, why)
        return
    group = Group(options, "losses")
    try:
        group.start(server)
        group.start_sonde(["--capture.ring-size=64KiB"], show="none")
        for name, cell in cells:
            report.cell(name, lambda cell=cell: cell(group))
    except Exception as e:
        def fail(error=e):
            raise error
        report.cell("losses/start", fail, always=True)
    finally:
        group.close()
