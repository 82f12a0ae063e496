# SPDX-License-Identifier: Apache-2.0
"""Starting and ending processes, ports, and waiting for conditions with a limit."""
import os
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(TOP, "build", "cache", "e2e")
EXTRA_PATH = ["/usr/local/go/bin", "/usr/sbin", "/sbin"]


def which(name):
    path = os.environ.get("PATH", "").split(":") + EXTRA_PATH
    return shutil.which(name, path=":".join(path))


def wait_for(condition, timeout, what):
    """The condition's first true value; TimeoutError names what did not come."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError("%s: not within %g s" % (what, timeout))
        time.sleep(0.005)


_given = set()


def free_port(host="127.0.0.1"):
    """
    A port nobody listens on, below the ephemeral range: a client's own connection must not take
    it between now and the bind.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low = int(f.read().split()[0])
    first = 10000 + (os.getpid() * 37) % max(1, min(low, 32768) - 12000)
    for port in list(range(first, min(low, 32768) - 1)) + list(range(10000, first)):
        if port in _given:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("no free port")


def listening(where):
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        try:
            s.connect(where)
            return True
        except OSError:
            return False


def listener_in_proc(port):
    """True when a TCP socket listens on the port; asks /proc, so that no test connection is made."""
    want = "%04X" % port
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name) as f:
            for line in f:
                col = line.split()
                if col[3] == "0A" and col[1].endswith(":" + want):
                    return True
    return False


class Process:
    """A child, in a cgroup when one is given, with its output in files of the work folder."""

    def __init__(self, argv, name, work, cgroup=None, env=None, stdin=None, cwd=None):
        self.name = name
        self.out_path = os.path.join(work, name + ".out")
        self.err_path = os.path.join(work, name + ".err")
        if cgroup:
            # exec after the move: every event of the program itself happens inside
            argv = ["/bin/sh", "-c", 'echo 0 >"$0" && exec "$@"', os.path.join(cgroup.path, "cgroup.procs")] + argv
        environ = dict(os.environ)
        environ["PATH"] = environ.get("PATH", "") + ":" + ":".join(EXTRA_PATH)
        for key in list(environ):
            if key.startswith(("OTEL_", "SONDE_")):
                del environ[key]
        environ.update(env or {})
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.p = subprocess.Popen(argv, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=err, env=environ,
                                      cwd=cwd or work, start_new_session=True)

    @property
    def pid(self):
        return self.p.pid

    def alive(self):
        return self.p.poll() is None

    def text(self, err=False, limit=4000):
        with open(self.err_path if err else self.out_path, "rb") as f:
            return f.read()[-limit:].decode("utf-8", "replace")

    def wait(self, timeout):
        try:
            return self.p.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError("%s: not done within %g s; its errors: %s" % (self.name, timeout, self.text(err=True, limit=600)))

    def kill(self):
        if self.p.poll() is None:
            try:
                os.killpg(self.p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.p.wait()

    def stop(self, timeout=8, sig=signal.SIGTERM):
        """The exit status; None when it had to be killed."""
        if self.p.poll() is None:
            self.p.send_signal(sig)
            try:
                return self.p.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                return None
        return self.p.returncode
