# SPDX-License-Identifier: Apache-2.0
"""A fresh cgroup v2 for one group of test processes: what sonde's scope names, and nothing else is in it."""
import itertools
import os
import signal
import time

_numbers = itertools.count(1)


def root():
    """The mount of the unified hierarchy; None: this machine has none."""
    with open("/proc/self/mountinfo") as f:
        for line in f:
            left, _, right = line.partition(" - ")
            if right.split()[0] == "cgroup2":
                return left.split()[4]
    return None


class Cgroup:
    def __init__(self, under=None):
        top = under or root()
        if not top:
            raise RuntimeError("no cgroup v2 mount")
        self.path = os.path.join(top, "sonde-test-%d-%d" % (os.getpid(), next(_numbers)))
        os.mkdir(self.path)

    def pids(self):
        with open(os.path.join(self.path, "cgroup.procs")) as f:
            return [int(x) for x in f.read().split()]

    def remove(self):
        """Ends what is left in it (all of it was started by us) and removes it."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("%s does not go away" % self.path)
