# SPDX-License-Identifier: Apache-2.0
"""The matrix's servers, in the order they run."""
import os
import tempfile

from .fronts import Apache, Haproxy, Lighttpd, Nginx
from .handlers import Go, Hyper, Jdk, Node, Php, Threads, Tomcat, Uvicorn


class Backend(Go):
    name = "backend"


class PlainBackend(Threads):
    name = "backend"
    flat = 4000


def behind():
    """What the configured servers pass requests to."""
    return Backend() if not Backend().unavailable() else PlainBackend()


def servers():
    return [Nginx(back=behind()), Threads(), Node(), Go(), Apache(back=behind()), Lighttpd(back=behind()),
            Haproxy(back=behind()), Uvicorn(), Jdk(), Tomcat(), Hyper(), Php()]


FEW = {"keepalive", "oneshot", "get", "pipeline", "flat_raw", "split", "head", "client_abort", "server_abort"}
FILES = {"keepalive", "oneshot", "flat_raw", "split", "head", "sendfile"}


def variant(cls, name, features, **kw):
    server = cls(**kw)
    server.name, server.features = name, features
    server.variant = True
    return server


def variants():
    """The same over unix sockets and IPv6."""
    def path(name):
        return os.path.join(tempfile.gettempdir(), "sonde-e2e-%d-%s.sock" % (os.getpid(), name))
    return [variant(Nginx, "nginx-unix", FILES, unix=path("nginx")), variant(Threads, "python-unix", FEW, unix=path("python")),
            variant(Node, "node-unix", FEW, unix=path("node")), variant(Go, "go-unix", FEW, unix=path("go")),
            variant(Nginx, "nginx-ipv6", FILES, host="::1"), variant(Node, "node-ipv6", FEW, host="::1")]
