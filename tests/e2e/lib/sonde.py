# SPDX-License-Identifier: Apache-2.0
"""
The program under test: started outside the test's cgroup and scoped to it, never without
a scope. Its calls are read from --print=json, its sums from /metrics.
"""
import json
import os
import urllib.error

from . import prom
from .proc import Process, free_port, wait_for

START_TIMEOUT = 20


class Line:
    """One call as sonde printed it."""
    __slots__ = ("raw", "role", "method", "target", "status", "error", "duration", "req", "resp", "port", "service", "pid")

    def __init__(self, d):
        self.raw = d
        self.role = d["role"]
        self.method = d.get("method")
        query = d.get("query") or d.get("attributes", {}).get("url.query")
        self.target = (d.get("path") or "") + ("?" + query if query else "")
        self.status = d.get("status") or None
        self.error = d.get("error_type") or None
        self.duration = d.get("duration_seconds")
        self.req = d.get("request_body_bytes")
        self.resp = d.get("response_body_bytes")
        self.port = (d.get("local_port") if self.role == "server" else d.get("peer_port")) or 0
        self.service = d.get("service")
        self.pid = d.get("pid")


class Sonde:
    def __init__(self, binary, scopes, work, args=(), env=None, name="sonde", show="json"):
        assert scopes, "tests never observe the whole machine"
        self.port = free_port()
        self.url = "http://127.0.0.1:%d" % self.port
        # beside a daemon of the machine's owner, whose calls the tests' own are
        argv = [os.path.abspath(binary), "--allow-overlap", "--print=" + show, "--web.listen-address=127.0.0.1:%d" % self.port]
        argv += ["--scope=" + s for s in scopes] + list(args)
        self.proc = Process(argv, name, work, env=env)
        self._offset = 0
        self._rest = b""
        self.lines = []
        wait_for(self._ready, START_TIMEOUT, "sonde ready")

    def _ready(self):
        if not self.proc.alive():
            raise RuntimeError("sonde ended with %s: %s" % (self.proc.p.returncode, self.proc.text(err=True)))
        try:
            prom.fetch(self.url + "/readyz", timeout=2)
            return True
        except (OSError, urllib.error.URLError):
            return False

    def scrape(self, headers=None):
        return prom.Scrape(prom.fetch(self.url + "/metrics", headers))

    def read(self):
        """Reads what was printed since; returns the new calls."""
        with open(self.proc.out_path, "rb") as f:
            f.seek(self._offset)
            data = f.read()
        self._offset += len(data)
        parts = (self._rest + data).split(b"\n")
        self._rest = parts.pop()
        new = [Line(json.loads(p)) for p in parts if p]
        self.lines += new
        return new

    def stop(self):
        """SIGTERM: flushes and exits within 5 s. Returns what was wrong, or None."""
        was_alive = self.proc.alive()
        status = self.proc.stop(timeout=6)
        self.read()
        if not was_alive:
            return "sonde had died (status %s): %s" % (status, self.proc.text(err=True, limit=800))
        if status is None:
            return "sonde did not end within 6 s of SIGTERM"
        if status != 0:
            return "sonde ended with status %d: %s" % (status, self.proc.text(err=True, limit=800))
        return None


def losses(scrape):
    """{reason: count} of all that is not zero."""
    return {s.labels.get("reason", "?"): int(s.value) for s in scrape.get("sonde_events_lost_total") if s.value}
