# SPDX-License-Identifier: Apache-2.0
"""service.name: from the environment, else from the program; and target_info joins with every series."""
import json
import os
import shutil
import subprocess
import sys

from lib.client import curl
from lib.proc import Process, free_port, listener_in_proc, wait_for, which
from lib.report import Failed, Skip
from servers.fronts import Nginx
from servers.handlers import APPS, Go, Jdk

from .group import SETTLE, Group, new_mark


def python_module(work, port):
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], {}


def python_env(work, port):
    argv = [sys.executable, os.path.join(APPS, "threads.py"), str(port), os.path.join(work, "log")]
    return argv, {"OTEL_SERVICE_NAME": "orders"}


def python_attributes(work, port):
    argv = [sys.executable, os.path.join(APPS, "threads.py"), str(port), os.path.join(work, "log")]
    return argv, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=ledger,service.namespace=bank,deployment.environment.name=test"}


def node(work, port):
    if not which("node"):
        raise Skip("node is not installed")
    for f in ("node.js", "package.json"):
        shutil.copy(os.path.join(APPS, f), work)
    return [which("node"), os.path.join(work, "node.js"), str(port), os.path.join(work, "log")], {}


def go(work, port):
    server = Go()
    if server.unavailable():
        raise Skip(server.unavailable())
    server.build()
    return [os.path.join(server.folder, "goserver"), str(port), os.path.join(work, "log")], {}


def java_class(work, port):
    server = Jdk()
    if server.unavailable():
        raise Skip(server.unavailable())
    server.build()
    return [which("java"), "-cp", server.folder, "JdkServer", str(port), os.path.join(work, "log")], {}


def java_jar(work, port):
    server = Jdk()
    if server.unavailable() or not which("jar"):
        raise Skip(server.unavailable() or "jar is not installed")
    server.build()
    jar = os.path.join(work, "shop.jar")
    subprocess.run([which("jar"), "cfe", jar, "JdkServer", "-C", server.folder, "."], check=True)
    return [which("java"), "-Xmx64m", "-jar", jar, str(port), os.path.join(work, "log")], {}


def nginx(work, port):
    server = Nginx()
    if server.unavailable():
        raise Skip(server.unavailable())
    server.port, server.log_path = port, os.path.join(work, "log")
    return server.argv(work), {}


CASES = [("python-module", "http.server", python_module), ("otel-service-name", "orders", python_env), ("resource-attributes", "ledger", python_attributes),
         ("node-package", "matrix-node", node), ("go", "goserver", go), ("java-class", "JdkServer", java_class), ("java-jar", "shop", java_jar), ("nginx", "nginx", nginx)]


def one(options, name, want, make):
    """One program; curl is its client. Each before sonde and after it: found at start, and by its exec."""
    group = Group(options, "names-" + name)
    try:
        ports = [free_port(), free_port()]
        programs = []

        def start(port):
            work = os.path.join(group.work, str(port))
            os.makedirs(work)
            os.chmod(work, 0o777)
            argv, env = make(work, port)
            programs.append(Process(argv, "program", work, cgroup=group.cgroup, env=env))
            wait_for(lambda: listener_in_proc(port), 15, "listener")
        start(ports[0])
        group.start_sonde()
        start(ports[1])
        mark = new_mark("names-" + name)
        for port in ports:
            curl(["http://127.0.0.1:%d/get/1?t=%s" % (port, mark)], group.cgroup, group.work)

        def lines():
            group.sonde.read()
            return len([x for x in group.sonde.lines if mark in x.target]) >= 4
        wait_for(lines, SETTLE, "four calls")
        bad = []
        for x in group.sonde.lines:
            wanted = want if x.role == "server" else "curl"
            if x.service != wanted:
                bad.append("%s at %d: service %s, is %s" % (x.role, x.port, x.service, wanted))
        scrape = group.sonde.scrape()
        served = scrape.get("http_server_request_duration_seconds_count")
        if {s.labels.get("service_name") for s in served} != {want}:
            bad.append("service_name %s" % [s.labels.get("service_name") for s in served])
        if name == "resource-attributes" and {s.labels.get("service_namespace") for s in served} != {"bank"}:
            bad.append("service_namespace %s" % [s.labels for s in served])
        bad += joins(scrape)
        if bad:
            raise Failed(bad)
        return want
    finally:
        for p in programs:
            p.kill()
        group.close()


def joins(scrape):
    """Every series of a service has exactly one target_info with its identity."""
    identity = ("service_name", "service_namespace", "service_instance_id")
    infos = {}
    for s in scrape.get("target_info"):
        key = tuple(s.labels.get(k, "") for k in identity)
        infos[key] = infos.get(key, 0) + 1
    bad = ["target_info twice: %s" % (k,) for k, n in infos.items() if n > 1]
    for name in ("http_server_request_duration_seconds_count", "http_client_request_duration_seconds_count"):
        for s in scrape.get(name):
            key = tuple(s.labels.get(k, "") for k in identity)
            if key not in infos:
                bad.append("no target_info for %s" % json.dumps(s.labels))
    return bad


def run(report, options):
    if options.truth_only:
        return
    for name, want, make in CASES:
        report.cell("names/" + name, lambda: one(options, name, want, make))
