#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sonde's OTLP exporter against a real OpenTelemetry Collector: what the Collector wrote equals what went in.

HTTP and gRPC, each plain, with gzip and over mutual TLS, both signals; and a Collector that is not there at
first and is restarted in the middle. Needs no root: tests/e2e/collector/drive.c feeds the exporter.

    tests/e2e/collector/check.py [--build DIR] [--drive BINARY]     default: build; drive.c is compiled

Exit: 0 equal, 1 different, 77 the Collector cannot be built here (Go is missing).
"""
import argparse
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SPANS = 1000
START_LIMIT = 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(what, cond, seconds):
    end = time.monotonic() + seconds
    while not cond():
        if time.monotonic() > end:
            raise SystemExit(f"check: {what} did not happen within {seconds} s")
        time.sleep(0.02)


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Collector:
    def __init__(self, binary, out, config):
        self.binary, self.out, self.config = binary, out, config
        self.grpc, self.http = free_port(), free_port()
        self.process = None
        out.mkdir()

    def start(self):
        env = {**os.environ, "OTLP_GRPC": f"127.0.0.1:{self.grpc}", "OTLP_HTTP": f"127.0.0.1:{self.http}",
               "OTLP_OUT": str(self.out)}
        log = open(self.out / "collector.log", "ab")
        self.process = subprocess.Popen([self.binary, "--config", self.config], env=env, stdout=log, stderr=log)
        wait_until("the Collector's start", lambda: listening(self.grpc) and listening(self.http), START_LIMIT)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            self.process = None

    def lines(self, name):
        path = self.out / f"{name}.jsonl"
        return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


def build_drive(build):
    drive = build / "tests" / "otlp_drive"
    packages = "libbpf libcurl libmicrohttpd libprotobuf-c yaml-0.1 libxxhash zlib libelf".split()
    libs = subprocess.run(["pkg-config", "--libs", *packages], check=True, capture_output=True, text=True).stdout
    subprocess.run(["gcc", "-std=gnu11", "-g", f"-I{ROOT}", f"-I{build}/gen", "-D_GNU_SOURCE", "-o", drive,
                    HERE / "drive.c", build / "rel" / "libsonde.a", *shlex.split(libs), "-lm", "-pthread"], check=True)
    return drive


def drive_env(port, grpc, gzip, extra):
    scheme = "https" if "OTEL_EXPORTER_OTLP_CERTIFICATE" in extra else "http"
    return {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}://127.0.0.1:{port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if grpc else "http/protobuf",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip" if gzip else "none", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",
            "OTEL_BSP_SCHEDULE_DELAY": "20", **extra}


def attributes(a):
    return {kv["key"]: next(iter(kv["value"].values())) for kv in a}


def spans_of(lines):
    return [(attributes(rs["resource"]["attributes"])["service.name"], s)
            for line in lines for rs in line["resourceSpans"] for ss in rs["scopeSpans"] for s in ss["spans"]]


def check_spans(lines, bad, resent=False):
    """Every span once. resent: a request whose answer was lost may be there again, as OTLP's retries imply."""
    spans = spans_of(lines)
    numbers = sorted(int(attributes(s["attributes"])["test.number"]) for _, s in spans)
    if (sorted(set(numbers)) if resent else numbers) != list(range(SPANS)):
        bad.append(f"spans: {len(numbers)} arrived, {len(set(numbers))} different, expected {SPANS}")
    for service, s in spans:
        a = attributes(s["attributes"])
        i = int(a["test.number"])
        want = ("beta" if i % 2 else "alpha", 3 if i % 2 else 2, "GET /x/{id}", 2 if i % 10 == 0 else None,
                "a\ufffd\ufffdz", 0.00025, "40000")
        got = (service, s["kind"], s["name"], s.get("status", {}).get("code"), a["test.bytes"], a["sonde.request.wait"],
               a["network.peer.port"])
        if got != want:
            bad.append(f"span {i}: {got}, expected {want}")
            return


def check_metrics(lines, bad):
    got = {}
    for rm in lines[-1]["resourceMetrics"]:
        service = attributes(rm["resource"]["attributes"])["service.name"]
        for m in rm["scopeMetrics"][0]["metrics"]:
            kind = next(k for k in ("sum", "gauge", "histogram") if k in m)
            p = m[kind]["dataPoints"][0]
            value = p["asDouble"] if kind != "histogram" else (p["count"], p["sum"], p["bucketCounts"], p["explicitBounds"])
            got[service, m["name"]] = (kind, m["unit"], value, attributes(p["attributes"]))
    label = {"http.response.status_code": "200"}
    want = {}
    for i, service in enumerate(("alpha", "beta")):
        want[service, "test.requests"] = ("sum", "{request}", 7 + i, label)
        want[service, "test.active"] = ("sum", "{request}", 17 + i, label)
        want[service, "test.fill"] = ("gauge", "1", 27 + i, label)
        want[service, "test.duration"] = ("histogram", "s", (str(3 + i), 2.5, ["1", "2", str(i)], [0.1, 1]), label)
    if got != want:
        bad.append(f"metrics: {got}, expected {want}")


def run_case(tmp, binary, drive, name, grpc, gzip, config, extra):
    bad = []
    c = Collector(binary, tmp / name, config)
    c.start()
    try:
        out = subprocess.run([drive, str(SPANS), "20"], env=drive_env(c.grpc if grpc else c.http, grpc, gzip, extra),
                             capture_output=True, text=True, timeout=60)
    finally:
        c.stop()
    if out.returncode or not out.stdout:
        return [f"drive: exit {out.returncode}: {out.stderr}"]
    stats = json.loads(out.stdout)
    if stats["traces"] != {"sent": SPANS, "failed": 0, "dropped": 0}:
        bad.append(f"counters: {stats}")
    check_spans(c.lines("traces"), bad)
    check_metrics(c.lines("metrics"), bad)
    if "does not take" in out.stderr:
        bad.append(out.stderr)
    return bad


def check_comes_back(tmp, binary, drive, name, grpc):
    """Started before the Collector, which is restarted later: a line per change, every span arrives."""
    bad, seen = [], []
    c = Collector(binary, tmp / name, HERE / "config.yaml")
    env = drive_env(c.grpc if grpc else c.http, grpc, False, {"OTEL_METRICS_EXPORTER": "none"})
    log = tmp / f"{name}.log"
    with open(log, "w") as err:
        p = subprocess.Popen([drive, str(SPANS), "800"], env=env, stdout=subprocess.PIPE, stderr=err, text=True)
    try:
        wait_until("the line that it is down", lambda: "does not take them" in log.read_text(), 10)
        c.start()
        wait_until("the line that it is back", lambda: "takes them again" in log.read_text(), 10)
        seen = log.read_text().splitlines()
        c.stop()
        c.start()
        out, _ = p.communicate(timeout=60)
    finally:
        p.kill()
        c.stop()
    if json.loads(out)["traces"] != {"sent": SPANS, "failed": 0, "dropped": 0}:
        bad.append(f"counters: {out}{log.read_text()}")
    check_spans(c.lines("traces"), bad, resent=True)
    if len(seen) != 3:
        bad.append(f"not three lines (where to, down, back): {seen}")
    return bad


def openssl(tmp, *args):
    subprocess.run(["openssl", *args], cwd=tmp, check=True, capture_output=True)


def make_certificates(tmp):
    """One authority that signs the Collector's and the client's certificate; returns (config, environment)."""
    openssl(tmp, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=test ca")
    (tmp / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        openssl(tmp, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")
        openssl(tmp, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.pem", "-days", "2", "-extfile", "san")
    tls = "\n".join(f"        {line}" for line in ("tls:", f"  cert_file: {tmp}/server.pem", f"  key_file: {tmp}/server.key",
                                                   f"  client_ca_file: {tmp}/ca.pem"))
    text = re.sub(r"(        endpoint: .*\n)", lambda m: m.group(1) + tls + "\n", (HERE / "config.yaml").read_text())
    (tmp / "tls.yaml").write_text(text)
    return tmp / "tls.yaml", {"OTEL_EXPORTER_OTLP_CERTIFICATE": f"{tmp}/ca.pem",
                              "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": f"{tmp}/client.pem",
                              "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{tmp}/client.key"}


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--build", type=Path, default=ROOT / "build")
    ap.add_argument("--drive", type=Path)
    args = ap.parse_args()
    build = args.build.resolve()
    made = subprocess.run([HERE / "build.sh", build / "cache"], stdout=subprocess.PIPE, text=True)
    if made.returncode:
        return made.returncode
    binary, drive = made.stdout.strip(), args.drive or build_drive(build)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="sonde-otlp.") as name:
        tmp = Path(name)
        tls, tls_env = make_certificates(tmp)
        cases = [(f"{'grpc' if grpc else 'http'}-{how}", lambda n, g=grpc, h=how: run_case(
            tmp, binary, drive, n, g, h == "gzip", tls if h == "tls" else HERE / "config.yaml",
            tls_env if h == "tls" else {})) for grpc in (False, True) for how in ("plain", "gzip", "tls")]
        cases += [(f"{'grpc' if g else 'http'}-comes-back", lambda n, g=g: check_comes_back(tmp, binary, drive, n, g))
                  for g in (False, True)]
        for case, run in cases:
            bad = run(case)
            failed += bool(bad)
            print(f"{'FAIL' if bad else 'ok'} {case}", *bad, sep="\n    " if bad else "")
    print(f"{len(cases) - failed} of {len(cases)} cases equal")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
