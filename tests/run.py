#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Runs test programs one after the other and adds up what they say: cmocka's summaries, or a last line
"N passed, N failed, N skipped". A program that says nothing, dies or runs too long is one failed test.
The last line printed is the sum, for people and for CI.

  tests/run.py NAME=COMMAND...      a '+' before NAME: a long one, its output is shown as it comes
                                    a '?' before NAME: it does not count; its exit status says: 0 passed, 77 skipped
"""
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

SHORT_LIMIT, LONG_LIMIT = 180, 27 * 60
CLOSING = re.compile(r"\b(\d+) passed, (\d+) failed, (\d+) skipped\b")
CMOCKA = [re.compile(r"^\[  %s.*?(\d+) test\(s\)" % word, re.M) for word in ("PASSED  \\]", "FAILED  \\]", "SKIPPED \\]")]
SKIPPED = re.compile(r"^(\[  SKIPPED \] (?!.*test\(s\)).*|skip(ped)?\b.*)$", re.M | re.I)


def counts_of(text, status, by_status):
    """[passed, failed, skipped]"""
    if by_status:
        return [status == 0, status not in (0, 77), status == 77]
    closing = CLOSING.findall(text)
    if closing:
        n = [int(x) for x in closing[-1]]
    else:
        n = [sum(int(x) for x in r.findall(text)) for r in CMOCKA]
    if status and not n[1] or not any(n):
        n[1] += 1
    return n


def run(argv, show, limit):
    """(what it printed, its status); -1: it ran too long"""
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         start_new_session=True)
    late = threading.Event()

    def end():
        late.set()
        os.killpg(p.pid, signal.SIGKILL)

    timer, lines = threading.Timer(limit, end), []
    timer.start()
    try:
        for line in p.stdout:
            line = line.decode("utf-8", "replace")
            lines.append(line)
            if show:
                sys.stdout.write("    " + line)
                sys.stdout.flush()
        status = p.wait()
    except KeyboardInterrupt:
        os.killpg(p.pid, signal.SIGTERM)
        p.wait()
        raise
    finally:
        timer.cancel()
    return "".join(lines), -1 if late.is_set() else status


def suite(name, command):
    show, by_status, name = name.startswith("+"), name.startswith("?"), name.lstrip("+?")
    limit = LONG_LIMIT if show else SHORT_LIMIT
    begin = time.monotonic()
    if show:
        print("run  %s" % name, flush=True)
    try:
        text, status = run(shlex.split(command), show, limit)
    except OSError as e:
        text, status = "%s\n" % e, 127
    n = counts_of(text, status, by_status)
    took = time.monotonic() - begin
    print("%-4s %-32s %4d passed%s%s  %.1f s" % ("FAIL" if n[1] else "ok", name, n[0], ", %d failed" % n[1] if n[1] else "",
                                             ", %d skipped" % n[2] if n[2] else "", took))
    if n[1] and not show:
        print("".join("    | " + line for line in text.splitlines(True)[-200:]))
    elif n[2] and not show:
        why = list(dict.fromkeys(m.group(1) for m in SKIPPED.finditer(text))) or text.splitlines()[-1:]
        print("".join("     %s\n" % w for w in why), end="")
    if status == -1:
        print("     stopped: not done within %d s" % limit)
    elif status and n[1]:
        print("     exit status %d" % status)
    sys.stdout.flush()
    return n


def main():
    total, failed = [0, 0, 0], []
    for arg in sys.argv[1:]:
        name, _, command = arg.partition("=")
        n = suite(name, command)
        total = [a + b for a, b in zip(total, n)]
        if n[1]:
            failed.append(name.lstrip("+?"))
    print()
    if failed:
        print("failed: %s" % " ".join(failed))
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return total[1] != 0 or not any(total)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
