#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What sonde costs: windows with and without it, in turn, on one machine.

A bench reports, it asserts nothing. nginx (one worker, pinned to CPU 0) serves a small
file, wrk (pinned to CPU 1) loads it; sonde runs where the scheduler puts it, so on a
machine of two cores it takes its time from both. Every pair is a window without and a
window with sonde, in alternating order; figures are medians of the pairs' ratios and
differences, with quartiles. sonde is scoped to the cgroup of the bench's own programs.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORT, METRICS = 18480, 18481
TICK = os.sysconf("SC_CLK_TCK")


def cgroup_root():
    with open("/proc/mounts") as f:
        for line in f:
            if line.split()[2] == "cgroup2":
                return line.split()[1]
    sys.exit("bench: no cgroup2 mount: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`")


class Cgroup:
    def __init__(self):
        self.path = os.path.join(cgroup_root(), "sonde-bench-%d" % os.getpid())
        os.mkdir(self.path)

    def enter(self):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))

    def popen(self, argv, **kw):
        return subprocess.Popen(argv, preexec_fn=self.enter, **kw)

    def remove(self):
        for _ in range(50):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.1)


class Nginx:
    def __init__(self, cg, work):
        os.makedirs(work + "/www", exist_ok=True)
        with open(work + "/www/t.txt", "w") as f:
            f.write("hello from nginx")
        with open(work + "/nginx.conf", "w") as f:
            f.write("""worker_processes 1; daemon off; pid %(w)s/nginx.pid; error_log %(w)s/error.log;
worker_rlimit_nofile 4096; user root;
events { worker_connections 2048; }
http { access_log off; keepalive_requests 1000000000; sendfile on; root %(w)s/www;
client_body_temp_path %(w)s/b; proxy_temp_path %(w)s/p; fastcgi_temp_path %(w)s/f; uwsgi_temp_path %(w)s/u; scgi_temp_path %(w)s/s;
server { listen 127.0.0.1:%(p)d reuseport; location = /status { stub_status; } } }
""" % {"w": work, "p": PORT})
        self.master = cg.popen(["nginx", "-c", work + "/nginx.conf"], stderr=subprocess.DEVNULL)
        self.worker = None
        for _ in range(100):
            kids = subprocess.run(["pgrep", "-P", str(self.master.pid)], capture_output=True, text=True).stdout.split()
            if kids:
                self.worker = int(kids[0])
                break
            time.sleep(0.05)
        if not self.worker:
            sys.exit("bench: nginx did not start; see " + work + "/error.log")
        subprocess.run(["taskset", "-p", "-c", "0", str(self.worker)], stdout=subprocess.DEVNULL, check=True)

    def cpu_ns(self):
        with open("/proc/%d/schedstat" % self.worker) as f:
            return int(f.read().split()[0])

    def stop(self):
        self.master.terminate()
        self.master.wait()


class Sonde:
    def __init__(self, binary, cg, extra=()):
        begin = time.monotonic()
        self.log = tempfile.TemporaryFile()
        self.p = subprocess.Popen([binary, "--scope=cgroup:" + cg.path, "--web.listen-address=127.0.0.1:%d" % METRICS, *extra],
                                  stdout=subprocess.DEVNULL, stderr=self.log)
        while True:
            if self.p.poll() is not None:
                self.log.seek(0)
                sys.exit("bench: sonde ended: " + self.log.read().decode())
            try:
                self.get("/readyz")
                break
            except OSError:
                time.sleep(0.01)
        self.get("/metrics")
        self.first_metric = time.monotonic() - begin

    def get(self, path):
        return urllib.request.urlopen("http://127.0.0.1:%d%s" % (METRICS, path), timeout=5).read().decode()

    def cpu_s(self):
        total = 0
        for tid in os.listdir("/proc/%d/task" % self.p.pid):
            with open("/proc/%d/task/%s/schedstat" % (self.p.pid, tid)) as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def memory(self):
        with open("/proc/%d/status" % self.p.pid) as f:
            text = f.read()
        return {k: int(re.search(k + r":\s+(\d+)", text).group(1)) * 1024 for k in ("VmRSS", "RssAnon")}

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(10)


def total(text, name, **labels):
    s = 0.0
    for line in text.splitlines():
        if line.startswith(name + "{") or line.startswith(name + " "):
            if all('%s="%s"' % kv in line for kv in labels.items()):
                s += float(line.rsplit(" ", 1)[1])
    return s


def wrk(cg, seconds, connections, extra=()):
    """cg: None leaves the client out of the scope."""
    out = (cg.popen if cg else subprocess.Popen)(["taskset", "-c", "1", "wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--latency", *extra,
                    "http://127.0.0.1:%d/t.txt" % PORT], stdout=subprocess.PIPE, text=True).communicate()[0]
    n = int(re.search(r"(\d+) requests in", out).group(1))
    rps = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
    return n, rps


def window(cg, nginx, seconds, connections, binary=None, extra=(), both=True):
    sonde = Sonde(binary, cg) if binary else None
    r = {}
    if sonde:
        before, scpu = sonde.get("/metrics"), sonde.cpu_s()
    c0 = nginx.cpu_ns()
    n, rps = wrk(cg if both else None, seconds, connections, extra)
    r.update(n=n, rps=rps, cpu_us=(nginx.cpu_ns() - c0) / n / 1e3)
    if sonde:
        time.sleep(0.3)
        r["sonde_us"] = (sonde.cpu_s() - scpu) / n * 1e6
        after = sonde.get("/metrics")
        name = "http_server_request_duration_seconds_count"
        r["counted"] = total(after, name) - total(before, name)
        r["lost"] = total(after, "sonde_events_lost_total")
        r["memory"] = sonde.memory()
        r["maps"] = total(after, "sonde_bpf_map_memory_bytes")
        r["first_metric"] = sonde.first_metric
        r["bpf"] = {m.group(1): float(m.group(2)) for m in re.finditer(
            r'sonde_bpf_program_run_seconds_total\{program="(\w+)"\} (\S+)', after)}
        r["runs"] = {m.group(1): float(m.group(2)) for m in re.finditer(
            r'sonde_bpf_program_runs_total\{program="(\w+)"\} (\S+)', after)}
        sonde.stop()
    return r


def quart(values):
    if len(values) < 2:
        return "%.3f" % values[0]
    q = statistics.quantiles(values, n=4, method="inclusive")
    return "%.3f [%.3f..%.3f]" % (q[1], q[0], q[2])


def pairs(title, cg, nginx, binary, n, seconds, connections, extra=(), both=True):
    got = []
    title += ", client observed too" if both else ", server observed"
    window(cg, nginx, 1, connections, None, extra, both)
    for i in range(n):
        order = [None, binary] if i % 2 == 0 else [binary, None]
        w = {bool(b): window(cg, nginx, seconds, connections, b, extra, both) for b in order}
        got.append((w[False], w[True]))
        print("  pair %d/%d: %.0f → %.0f requests/s" % (i + 1, n, w[False]["rps"], w[True]["rps"]), file=sys.stderr, flush=True)
    base = [b for b, _ in got]
    on = [s for _, s in got]
    print("\n%s (%d pairs of %d s, %d connections)" % (title, n, seconds, connections))
    print("  throughput with/without      %s   (%.0f requests/s without)" % (
        quart([s["rps"] / b["rps"] for b, s in got]), statistics.median(b["rps"] for b in base)))
    print("  server CPU per request, µs   %s → %s, added %s" % (
        quart([b["cpu_us"] for b in base]), quart([s["cpu_us"] for s in on]), quart([s["cpu_us"] - b["cpu_us"] for b, s in got])))
    print("  sonde CPU per request, µs    %s" % quart([s["sonde_us"] for s in on]))
    print("  counted / sent               %d / %d, lost by reason: %d" % (
        sum(s["counted"] for s in on), sum(s["n"] for s in on), sum(s["lost"] for s in on)))
    m = on[-1]
    print("  memory, MB                   RssAnon %.1f + BPF maps %.1f = %.1f; VmRSS %.1f" % (
        m["memory"]["RssAnon"] / 1e6, m["maps"] / 1e6, (m["memory"]["RssAnon"] + m["maps"]) / 1e6, m["memory"]["VmRSS"] / 1e6))
    print("  start to first metric, s     %s" % quart([s["first_metric"] for s in on]))
    print("  BPF, ns per run              %s" % ", ".join(
        "%s %.0f" % (k, m["bpf"][k] / m["runs"][k] * 1e9) for k in sorted(m["bpf"]) if m["runs"].get(k)))
    return got


SCRAPE_LUA = """local n = 0
request = function() n = n + 1; return wrk.format("GET", "/r" .. (n % 100) .. "/x/s" .. (n % 7)) end
"""


def scrape(cg, nginx, binary, work):
    """A scrape of 10,000 lines: many buckets on some hundred series."""
    with open(work + "/many.lua", "w") as f:
        f.write(SCRAPE_LUA)
    bounds = ",".join("%g" % (i / 10000) for i in range(1, 65))
    conf = work + "/scrape.yaml"
    with open(conf, "w") as f:
        f.write("routes:\n  - patterns: [%s]\n" % ", ".join('"/r%d/x/*"' % i for i in range(100)))
    s = Sonde(binary, cg, ["--config.file=" + conf, "--metrics.duration-buckets=" + bounds, "--metrics.routes-per-service=2000"])
    for i in range(100):
        os.makedirs("%s/www/r%d/x" % (work, i), exist_ok=True)
        for k in range(7):
            with open("%s/www/r%d/x/s%d" % (work, i, k), "w") as f:
                f.write("x")
    wrk(cg, 2, 16, ["-s", work + "/many.lua"])
    time.sleep(0.2)
    times, lines = [], 0
    for _ in range(21):
        t = time.monotonic()
        text = s.get("/metrics")
        times.append((time.monotonic() - t) * 1e3)
        lines = text.count("\n")
    s.stop()
    print("\nscrape of %d lines, ms           %s" % (lines, quart(times)))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--sonde", default=ROOT + "/build/sonde")
    a.add_argument("--pairs", type=int, default=7)
    a.add_argument("--seconds", type=int, default=4)
    a.add_argument("--only", help="keepalive, oneshot or scrape")
    a.add_argument("--observe", choices=["server", "both"], help="whom the scope holds; default: one after the other")
    o = a.parse_args()
    for tool in ("nginx", "wrk", "taskset"):
        if not shutil.which(tool):
            sys.exit("bench: %s is missing: apt-get install nginx-light wrk util-linux" % tool)
    work = tempfile.mkdtemp(prefix="sonde-bench-")
    os.chmod(work, 0o755)
    cg = Cgroup()
    nginx = Nginx(cg, work)
    print("bench on %s, %d CPUs" % (" ".join(os.uname()[i] for i in (0, 2, 4)), os.cpu_count()))
    try:
        for both in {"server": [False], "both": [True]}.get(o.observe, [False, True]):
            if o.only in (None, "keepalive"):
                pairs("nginx, small file, keep-alive, saturated", cg, nginx, o.sonde, o.pairs, o.seconds, 16, (), both)
            if o.only in (None, "oneshot"):
                pairs("nginx, small file, one-shot connections, saturated", cg, nginx, o.sonde, o.pairs, o.seconds, 16,
                      ["-H", "Connection: close"], both)
        if o.only in (None, "scrape"):
            scrape(cg, nginx, o.sonde, work)
    finally:
        nginx.stop()
        cg.remove()
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
