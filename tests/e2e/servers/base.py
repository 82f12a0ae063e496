# SPDX-License-Identifier: Apache-2.0
"""What the scenarios know about a server: where it listens, what it can do, what it logged."""
import os
import signal

from lib.proc import Process, free_port, listener_in_proc, wait_for

ALL = {"keepalive", "oneshot", "pipeline", "get", "echo", "sink", "chunked", "chunked_request", "head", "expect",
       "client_abort", "server_abort", "kill", "delay", "paced", "flat", "flat_h1", "status", "split"}


def parent(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


class Logged:
    """
    One line of a server's own log. Of our own handlers also the stamps, ns: the request's start, the write of
    the answer's last byte, the end; 0: not known.
    """
    __slots__ = ("method", "target", "status", "duration", "req", "resp", "start", "write", "end")

    def __init__(self, method, target, status, duration, req=None, resp=None, stamps=(0, 0, 0)):
        self.method, self.target, self.status, self.duration = method, target, status, duration
        self.req, self.resp = req, resp
        self.start, self.write, self.end = stamps


class Server:
    name = "?"
    features = ALL
    #: one of another kind of socket: runs only what its features name
    variant = False
    #: scenarios in which the server's own calls cannot all be read, and why: made = reported + lost is asked
    unreadable = {}
    #: why a feature is not there, for the summary
    absent = {}
    #: seconds of the log's clock step; 0: handler stamps in nanoseconds
    resolution = 0
    #: number of requests of the flat-out cell, per concurrency 16
    flat = 20000
    #: route of files that go out by sendfile
    file_route = "/get/"
    #: routes that are answered by the server behind, as (prefix, …)
    proxied = ()
    #: statuses in the log that were never sent
    unsent = (0, 499)

    def __init__(self, host="127.0.0.1", unix=None, back=None):
        self.host, self.unix, self.back = host, unix, back
        self.port = 0
        self.proc = None

    # to be overridden
    def unavailable(self):
        """Why it cannot run here; None: it can."""
        return None

    def build(self):
        """Makes what it needs, into the cache; may take long once."""

    def argv(self, work):
        raise NotImplementedError

    def parse(self, line):
        """A Logged, or None."""
        method, target, status, *numbers = line.split(" ")
        start, end, req, resp, write = [int(x) for x in numbers + ["0"]][:5]
        return Logged(method, target, int(status), (end - start) / 1e9, req, resp, (start, write, end))

    def env(self):
        return {}

    # common
    @property
    def target(self):
        return self.unix if self.unix else [self.host, self.port]

    @property
    def where(self):
        return self.unix if self.unix else str(self.port)

    def is_proxied(self, path):
        return bool(self.back) and path.startswith(self.proxied)

    def start(self, cgroup, work):
        self.cgroup = cgroup
        self.work = os.path.join(work, self.name)
        os.makedirs(self.work, exist_ok=True)
        os.chmod(self.work, 0o777)
        if not self.unix:
            self.port = free_port(self.host)
        self.log_path = os.path.join(self.work, "access.log")
        self._log = {"offset": 0, "rest": b"", "all": []}
        if self.back:
            self.back.start(cgroup, work)
        self.proc = Process(self.argv(self.work), self.name, self.work, cgroup=cgroup, env=self.env())
        wait_for(self._listens, 20, self.name + " listening")

    def _listens(self):
        if not self.proc.alive():
            raise RuntimeError("%s ended: %s%s" % (self.name, self.proc.text(err=True, limit=800), self.proc.text(limit=800)))
        return os.path.exists(self.unix) if self.unix else listener_in_proc(self.port)

    def stop(self):
        if self.proc:
            self.proc.stop(timeout=2)
            self.proc.kill()
        if self.back:
            self.back.stop()

    def kill(self):
        """SIGKILL to it and to its workers, whatever process group they made for themselves."""
        for pid in self.cgroup.pids():
            if parent(pid) == self.proc.pid:
                os.kill(pid, signal.SIGKILL)
        self.proc.kill()

    def logged(self, mark=None):
        """What was logged so far, of the targets that hold the mark."""
        if os.path.exists(self.log_path):
            with open(self.log_path, "rb") as f:
                f.seek(self._log["offset"])
                data = f.read()
            self._log["offset"] += len(data)
            parts = (self._log["rest"] + data).split(b"\n")
            self._log["rest"] = parts.pop()
            for p in parts:
                entry = self.parse(p.decode("utf-8", "surrogateescape"))
                if entry:
                    if entry.status in self.unsent:
                        entry.status = None
                    self._log["all"].append(entry)
        return [e for e in self._log["all"] if mark is None or mark in e.target]

    def logged_when(self, mark, count, timeout=3):
        """The same, once `count` lines are there; what is there when the time is over."""
        try:
            wait_for(lambda: len(self.logged(mark)) >= count, timeout, "log")
        except TimeoutError:
            pass
        return self.logged(mark)
