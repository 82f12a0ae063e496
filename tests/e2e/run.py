#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""End-to-end tests: real programs, the truth they keep, and what sonde says. See README.md."""
import argparse
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

from lib import cgroup  # noqa: E402
from lib.proc import CACHE, TOP  # noqa: E402
from lib.report import Report  # noqa: E402

SUITES = ("matrix", "negative", "hostile", "scan", "scope", "names", "prometheus", "collector", "wait", "streams", "ways", "races", "losses", "budget", "exclude", "telemetry", "command")


def arguments():
    a = argparse.ArgumentParser(description=__doc__)
    a.add_argument("--filter", metavar="REGEX", help="only cells whose name (server/scenario) matches")
    a.add_argument("--quick", action="store_true", help="fewer requests, about half the time")
    a.add_argument("--list", action="store_true", help="print the cells' names and end")
    a.add_argument("--sonde", default=os.path.join(TOP, "build", "sonde"), metavar="PROGRAM")
    a.add_argument("--keep", action="store_true", help="keep the work folder with all outputs")
    a.add_argument("--truth-only", action="store_true", help="no sonde: compare the clients' counts with the servers' logs")
    return a.parse_args()


def main():
    options = arguments()
    report = Report(options.filter, options.list)
    if not options.list:
        if os.geteuid() != 0 or not cgroup.root():
            print("e2e: needs root and a cgroup v2 mount")
            return 1
        if not options.truth_only and not os.access(options.sonde, os.X_OK):
            print("e2e: %s is not there; run make" % options.sonde)
            return 1
    os.makedirs(CACHE, exist_ok=True)
    # in memory where there is room: a disk that stalls would be sonde's slow reader
    shm = "/dev/shm"
    room = os.path.isdir(shm) and shutil.disk_usage(shm).free > 1 << 30
    options.work = tempfile.mkdtemp(prefix="sonde-e2e.", dir=shm if room else None)
    os.chmod(options.work, 0o755)
    try:
        for name in SUITES:
            __import__("suites." + name, fromlist=["run"]).run(report, options)
    finally:
        if options.keep or (report.failed and not options.list):
            print("outputs are in %s" % options.work)
        else:
            shutil.rmtree(options.work, ignore_errors=True)
    return 0 if options.list else report.close()


if __name__ == "__main__":
    sys.exit(main())
