# SPDX-License-Identifier: Apache-2.0
"""Clients that run inside the test's cgroup: our own exact one, ab, h2load, curl."""
import itertools
import json
import os
import re
import sys

from .proc import HERE, Process, which

_numbers = itertools.count(1)
_raw = os.path.join(HERE, "clients", "raw.py")


class Done:
    """One request as our own client saw it."""
    __slots__ = ("method", "target", "status", "error", "start", "end", "req", "resp", "conn", "sent", "port", "switches")

    def __init__(self, row):
        (self.method, self.target, self.status, self.error, self.start, self.end, self.req, self.resp, self.conn, self.sent, self.port,
         self.switches) = row


class RawClient:
    """Started at once; result() waits for its end."""

    def __init__(self, target, conns, cgroup, work, rate=0, threads=1, gate=False, cpu=None, name="client", env=None):
        n = next(_numbers)
        base = os.path.join(work, "%s-%d" % (name, n))
        self.result_path = base + ".result"
        self.gate = base + ".gate" if gate else None
        with open(base + ".plan", "w") as f:
            plan = {"target": target, "conns": conns, "rate": rate, "threads": threads, "gate": self.gate}
            json.dump(dict(plan, cpu=cpu) if cpu is not None else plan, f)
        self.proc = Process([sys.executable, "-S", "-E", _raw, base + ".plan", self.result_path], "%s-%d" % (name, n), work,
                            cgroup=cgroup, env=env)

    def waiting(self):
        if not self.proc.alive():
            raise RuntimeError("client ended: " + self.proc.text(err=True))
        return os.path.exists(self.gate + ".ready")

    def go_on(self):
        open(self.gate + ".go", "w").close()

    def result(self, timeout=60):
        if self.proc.wait(timeout) != 0:
            raise RuntimeError("client failed: " + self.proc.text(err=True, limit=1500))
        with open(self.result_path) as f:
            return [Done(row) for row in json.load(f)]


def url_of(target, path):
    host = "[%s]" % target[0] if ":" in target[0] else target[0]
    return "http://%s:%d%s" % (host, target[1], path)


def ab(target, path, n, cgroup, work, concurrency=16, keepalive=True, timeout=120):
    """ab's own exact count of answers; raises unless all n were complete and 2xx."""
    argv = [which("ab"), "-q", "-n", str(n), "-c", str(concurrency)] + (["-k"] if keepalive else [])
    p = Process(argv + [url_of(target, path)], "ab-%d" % next(_numbers), work, cgroup=cgroup)
    status = p.wait(timeout)
    text = p.text()
    done = re.search(r"Complete requests:\s+(\d+)", text)
    failed = re.search(r"Failed requests:\s+(\d+)", text)
    if status != 0 or not done or int(failed.group(1)) or "Non-2xx" in text:
        raise RuntimeError("ab: %s %s" % (text[-400:], p.text(err=True, limit=400)))
    return int(done.group(1))


def h2load(target, path, n, cgroup, work, concurrency=16, timeout=120):
    argv = [which("h2load"), "--h1", "-t1", "-n", str(n), "-c", str(concurrency), url_of(target, path)]
    p = Process(argv, "h2load-%d" % next(_numbers), work, cgroup=cgroup)
    status = p.wait(timeout)
    text = p.text()
    # "succeeded" needs a reason phrase, which Tomcat leaves out: the statuses are in the server's log
    m = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, .* 0 errored, 0 timeout", text)
    if status != 0 or not m or len({m.group(i) for i in range(1, 4)}) != 1:
        raise RuntimeError("h2load: %s %s" % (text[-400:], p.text(err=True, limit=400)))
    return int(m.group(1))


def curl(args, cgroup, work, timeout=60, env=None):
    p = Process([which("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}"] + args, "curl-%d" % next(_numbers), work,
                cgroup=cgroup, env=env)
    return p.wait(timeout), p.text()
