# SPDX-License-Identifier: Apache-2.0
"""Servers whose handlers are ours (apps/): they stamp in nanoseconds."""
import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys

from lib.proc import CACHE, HERE, which
from lib.report import Skip

from .base import ALL, Server

DEBIAN_CRATES = "/usr/share/cargo/registry"
APPS = os.path.join(HERE, "apps")


def cached(kind, sources, build):
    """A folder of the cache that belongs to these sources; build(folder) fills it once."""
    digest = hashlib.sha256()
    for path in sources:
        with open(path, "rb") as f:
            digest.update(f.read())
    final = os.path.join(CACHE, "%s-%s" % (kind, digest.hexdigest()[:16]))
    if not os.path.isdir(final):
        part = "%s.part.%d" % (final, os.getpid())
        shutil.rmtree(part, ignore_errors=True)
        os.makedirs(part)
        try:
            build(part)
            os.rename(part, final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return final


def run(argv, cwd, env=None):
    p = subprocess.run(argv, cwd=cwd, env=dict(os.environ, **(env or {})), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if p.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stdout.decode("utf-8", "replace")[-1500:]))


class Threads(Server):
    name = "python"
    features = ALL
    flat = 4000

    def argv(self, work):
        return [sys.executable, os.path.join(APPS, "threads.py"), self.where, self.log_path, self.host]


class Node(Server):
    name = "node"
    features = ALL

    def unavailable(self):
        return None if which("node") else "node is not installed"

    def argv(self, work):
        return [which("node"), os.path.join(APPS, "node.js"), self.where, self.log_path, self.host]


class Uvicorn(Server):
    name = "uvicorn"
    flat = 4000
    python = "/usr/bin/python3"

    def unavailable(self):
        for python in (sys.executable, self.python):
            if os.path.exists(python) and not subprocess.run([python, "-c", "import uvicorn, h11"], stderr=subprocess.DEVNULL).returncode:
                self.python = python
                return None
        return "python3-uvicorn is not installed"

    def argv(self, work):
        return [self.python, os.path.join(APPS, "asgi.py"), self.where, self.log_path]


class Go(Server):
    name = "go"
    features = ALL | {"sendfile"}
    file_route = "/file/"

    def unavailable(self):
        return None if which("go") else "go is not installed"

    def build(self):
        src = os.path.join(APPS, "go")
        self.folder = cached("go", [os.path.join(src, f) for f in ("go.mod", "main.go")],
                             lambda out: run([which("go"), "build", "-o", os.path.join(out, "goserver"), "."], src,
                                             {"GOFLAGS": "", "CGO_ENABLED": "0"}))

    def argv(self, work):
        return [os.path.join(self.folder, "goserver"), self.where, self.log_path]


class Jdk(Server):
    name = "jdk"
    source = "JdkServer"
    jars = ()

    def unavailable(self):
        if not which("javac") or not which("java"):
            return "no JDK is installed"
        return None

    def build(self):
        src = [os.path.join(APPS, "java", n + ".java") for n in ("Answer", self.source)]
        self.folder = cached(self.name, src, lambda out: run([which("javac"), "-nowarn", "-cp", ":".join(self.jars) or ".", "-d", out] + src, APPS))

    def argv(self, work):
        return [which("java"), "-XX:TieredStopAtLevel=4", "-Xshare:auto", "-XX:+UseSerialGC", "-Xmx512m", "-cp", ":".join((self.folder,) + tuple(self.jars)), self.source,
                self.where, self.log_path]


class Tomcat(Jdk):
    name = "tomcat"
    source = "TomcatServer"

    def unavailable(self):
        self.jars = tuple(j for j in ("/usr/share/java/tomcat10-embed-core.jar",) if os.path.exists(j))
        return super().unavailable() or (None if self.jars else "libtomcat10-embed-java is not installed")


class Hyper(Server):
    name = "hyper"

    def unavailable(self):
        return None if which("cargo") else "cargo is not installed"

    def build(self):
        src = os.path.join(APPS, "rust")

        def build(out):
            target = os.path.join(CACHE, "rust-target")
            cargo = [which("cargo"), "build", "--release", "--target-dir", target]
            try:
                run(cargo + ["--locked"], src)
            except RuntimeError as e:
                # Debian 12's Cargo takes the registry's index from github.com only: its own crates will do
                if not os.path.isdir(DEBIAN_CRATES + "/hyper-0.14.19"):
                    raise Skip("the crates are not to be had: " + str(e).strip().split("\n")[-1])
                copy = os.path.join(target, "src-debian")
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(src, copy, ignore=shutil.ignore_patterns("Cargo.lock"))
                run(cargo + ["--offline", "--config", "source.crates-io.replace-with='debian'",
                             "--config", "source.debian.directory='%s'" % DEBIAN_CRATES], copy)
            shutil.copy(os.path.join(target, "release", "rustserver"), out)
        self.folder = cached("rust", [os.path.join(src, "Cargo.toml"), os.path.join(src, "Cargo.lock")] +
                             sorted(glob.glob(os.path.join(src, "src", "*.rs"))), build)

    def argv(self, work):
        return [os.path.join(self.folder, "rustserver"), self.where, self.log_path]


class Php(Server):
    name = "php"
    flat = 4000
    features = ALL - {"keepalive", "pipeline", "expect", "flat_h1", "split"}
    absent = {"keepalive": "closes after each answer", "pipeline": "closes after each answer",
              "expect": "never sends 100", "flat_h1": "closes after each answer",
              "split": "closes, and so resets, before it has read a request's last byte"}

    def unavailable(self):
        return None if which("php") else "php-cli is not installed"

    def argv(self, work):
        return [which("php"), "-q", "-d", "memory_limit=512M", "-d", "post_max_size=0", "-S", "%s:%d" % (self.host, self.port), os.path.join(APPS, "router.php")]

    def kill(self):
        # whichever process is the master by now: an aborted request took its process along
        for pid in self.cgroup.pids():
            if os.path.realpath("/proc/%d/exe" % pid) == os.path.realpath(which("php")):
                os.kill(pid, signal.SIGKILL)
        self.proc.kill()

    def env(self):
        return {"SERVER_LOG": self.log_path, "PHP_CLI_SERVER_WORKERS": "4"}
