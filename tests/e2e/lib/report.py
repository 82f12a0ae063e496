# SPDX-License-Identifier: Apache-2.0
"""What ran, what failed, what did not run and why."""
import re
import sys
import time
import traceback


class Skip(Exception):
    pass


class Failed(Exception):
    """Differences from the truth, one per line."""

    def __init__(self, what):
        self.what = [what] if isinstance(what, str) else list(what)
        super().__init__("; ".join(self.what))


class Report:
    def __init__(self, only=None, listing=False):
        self.only = re.compile(only) if only else None
        self.listing = listing
        self.passed, self.failed, self.skipped = [], [], []
        self.matrix = {"run": 0, "all": 0, "absent": []}

    def wanted(self, name):
        return not self.only or bool(self.only.search(name))

    def _say(self, mark, name, note):
        print("%-4s %-34s %s" % (mark, name, note), flush=True)

    def skip(self, name, why):
        if self.wanted(name):
            self.skipped.append(name)
            self._say("skip", name, why)

    def cell(self, name, run, always=False):
        """run() returns a note for people, raises Failed or Skip."""
        if not self.wanted(name) and not always:
            return False
        if self.listing:
            print(name)
            return False
        start = time.monotonic()
        try:
            note = run() or ""
        except Skip as e:
            self.skipped.append(name)
            self._say("skip", name, str(e))
            return False
        except Failed as e:
            self.failed.append(name)
            self._say("FAIL", name, "%.1fs" % (time.monotonic() - start))
            for what in e.what:
                print("       %s" % what, flush=True)
            return False
        except Exception as e:
            self.failed.append(name)
            self._say("FAIL", name, "%s: %s" % (type(e).__name__, e))
            if not isinstance(e, (RuntimeError, TimeoutError)):
                traceback.print_exc(file=sys.stdout)
            return False
        self.passed.append(name)
        self._say("ok", name, "%s (%.1fs)" % (note, time.monotonic() - start))
        return True

    def close(self):
        m = self.matrix
        if m["all"]:
            print("matrix: cells run %d of %d" % (m["run"], m["all"]) + (", the others are not possible:" if m["absent"] else ""))
            reasons = {}
            for name, why in m["absent"]:
                reasons.setdefault(why, []).append(name)
            for why, names in sorted(reasons.items()):
                print("  %s: %s" % (why, " ".join(names)))
        for name in self.failed:
            print("failed: %s" % name)
        print("e2e: %d passed, %d failed, %d skipped" % (len(self.passed), len(self.failed), len(self.skipped)), flush=True)
        return 1 if self.failed else 0
