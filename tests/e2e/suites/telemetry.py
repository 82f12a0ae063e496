# SPDX-License-Identifier: Apache-2.0
"""
No telemetry about telemetry: the far ends of sonde's own connections (a Collector that receives, a Prometheus or
curl that scrapes) make no call and move no metric although they are in its scope, while their
neighbour is counted.
"""
import json
import os
import time
import urllib.parse

from lib import prom
from lib.proc import HERE, Process, free_port, wait_for, which
from lib.report import Failed, Skip
from servers.handlers import Threads

from . import collector
from .group import Group, clean_sides, new_mark


class Inside(collector.Collector):
    """The Collector as a program that sonde observes."""

    def __init__(self, binary, group):
        self.out = os.path.join(group.work, "otlp")
        os.makedirs(self.out)
        self.grpc, self.http = free_port(), free_port()
        env = {"OTLP_GRPC": "127.0.0.1:%d" % self.grpc, "OTLP_HTTP": "127.0.0.1:%d" % self.http, "OTLP_OUT": self.out}
        self.proc = Process([binary, "--config", os.path.join(HERE, "collector", "config.yaml")], "collector", group.work, env=env,
                            cgroup=group.cgroup)
        wait_for(lambda: self._log("Everything is ready"), 20, "Collector ready")


def neighbour(group, server, what, n=50):
    """Ordinary calls, counted exactly."""
    mark = new_mark(what)
    before = group.before()
    done = group.client(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=n)]}]).result()
    sides = clean_sides(server, done, mark)
    group.check(mark, sides, before)
    return mark, sides


def not_a_word(group, words, ports, series=("http_", "sonde_tcp_", "sonde_server_", "target_info")):
    """Neither lines nor series that name the far end; sonde's own counters may name what they are about."""
    scrape = group.sonde.scrape()
    ports = {str(p) for p in ports}
    bad = []
    for s in scrape.samples:
        if not s.name.startswith(series):
            continue
        if s.labels.get("server_port") in ports or any(w in s.labels.get("service_name", "") for w in words):
            bad.append("a series about it: %s" % s)
    group.sonde.read()
    for x in group.sonde.lines:
        if str(x.port) in ports or str(x.raw.get("local_port")) in ports or any(w in (x.service or "") for w in words):
            bad.append("a line about it: %s" % x.raw)
    if bad:
        raise Failed(bad[:4])


def receives(options, protocol):
    binary = collector.build()
    group = Group(options, "telemetry-" + protocol.split("/")[0])
    receiver = None
    try:
        server = group.start(Threads())
        receiver = Inside(binary, group)
        port = receiver.grpc if protocol == "grpc" else receiver.http
        group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % port, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                               "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "200"})
        mark, sides = neighbour(group, server, "telemetry")

        def received():
            return not collector.check_spans(receiver, sides, mark) and not collector.check_metrics(receiver, sides)
        try:
            wait_for(received, 5, "spans and metrics")
        except TimeoutError:
            raise Failed(collector.check_spans(receiver, sides, mark) + collector.check_metrics(receiver, sides))
        time.sleep(1.2)  # some more exports of metrics
        n = len(receiver.spans())
        not_a_word(group, ["otelcol"], [receiver.grpc, receiver.http])
        sent = group.sonde.scrape().sum("sonde_exporter_sent_total", exporter="otlp")
        if n != len(sides[0].wants) * 2 or not sent:
            raise Failed("%d spans came, were %d; sonde counts %d sent" % (n, 2 * len(sides[0].wants), sent))
        return group.totals() + ", %d items sent" % sent
    finally:
        if receiver:
            receiver.proc.kill()
        group.close()


def somebody_elses(options):
    """The rule is about sonde's own connections only: another program's OTLP to the same Collector is a call like any."""
    if not which("curl"):
        raise Skip("curl is not installed")
    binary = collector.build()
    group = Group(options, "telemetry-others")
    receiver = None
    try:
        receiver = Inside(binary, group)
        group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % receiver.http, "OTEL_METRIC_EXPORT_INTERVAL": "200",
                               "OTEL_TRACES_EXPORTER": "none"})
        wait_for(lambda: group.sonde.scrape().sum("sonde_exporter_sent_total", exporter="otlp") > 0, 5, "sonde's first export")
        p = Process([which("curl"), "-s", "-o", "/dev/null", "-H", "Content-Type: application/json", "-d", "{}",
                     "http://127.0.0.1:%d/v1/traces" % receiver.http], "curl", group.work, cgroup=group.cgroup)
        p.wait(10)

        def lines():
            group.sonde.read()
            return sorted((x.role, x.method, x.target, x.status) for x in group.sonde.lines)
        want = [(role, "POST", "/v1/traces", 200) for role in ("client", "server")]
        try:
            wait_for(lambda: lines() == want, 4, "calls")
        except TimeoutError:
            raise Failed("calls %s, were %s" % (lines(), want))
        group.made = {"server": 1, "client": 1}
        time.sleep(0.5)
        return group.totals()
    finally:
        if receiver:
            receiver.proc.kill()
        group.close()


def scraped(options, prometheus):
    group = Group(options, "telemetry-" + ("prometheus" if prometheus else "curl"))
    scraper = None
    try:
        if not which("prometheus" if prometheus else "curl"):
            raise Skip("%s is not installed" % ("prometheus" if prometheus else "curl"))
        server = group.start(Threads())
        group.start_sonde()
        if prometheus:
            scraper = start_prometheus(group)
        else:
            for path in ("/metrics", "/", "/healthz", "/metrics"):
                p = Process([which("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", group.sonde.url + path], "curl", group.work, cgroup=group.cgroup)
                if p.wait(10) or p.text() != "200":
                    raise Failed("%s: %s %s" % (path, p.text(), p.text(err=True)))
        mark, sides = neighbour(group, server, "telemetry")
        if prometheus:
            # it takes 5 s until it has looked at its targets
            wait_for(lambda: connected_to(group.sonde.port), 10, "the first scrape")
            time.sleep(1.5)
        not_a_word(group, ["prometheus", "curl"], [group.sonde.port], ("http_", "sonde_server_"))
        note = group.totals()
        return note + (", %d scrapes" % scrapes(scraper) if prometheus else "")
    finally:
        if scraper:
            scraper.kill()
        group.close()


def start_prometheus(group):
    """Scrapes sonde five times a second."""
    port = free_port()
    config = os.path.join(group.work, "prometheus.yml")
    with open(config, "w") as f:
        f.write("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                "scrape_configs:\n- job_name: sonde\n  static_configs: [{targets: ['127.0.0.1:%d']}]\n" % group.sonde.port)
    scraper = Process([which("prometheus"), "--config.file=" + config, "--storage.tsdb.path=" + os.path.join(group.work, "tsdb"),
                       "--web.listen-address=127.0.0.1:%d" % port, "--log.level=info"], "prometheus", group.work, cgroup=group.cgroup)
    scraper.web_port = port
    wait_for(lambda: "ready to receive" in scraper.text(err=True, limit=10**6), 20, "Prometheus ready")
    return scraper


def connected_to(port):
    """Somebody keeps a connection to it; asks /proc."""
    with open("/proc/net/tcp") as f:
        return any(col[2].endswith(":%04X" % port) and col[3] == "01" for col in map(str.split, f))


def scrapes(scraper):
    """How many it holds; asked when sonde has ended, for this is a call to a program in the scope."""
    q = urllib.parse.quote("sum_over_time(up[1m])")
    answer = json.loads(prom.fetch("http://127.0.0.1:%d/api/v1/query?query=%s" % (scraper.web_port, q)))
    n = sum(float(r["value"][1]) for r in answer["data"]["result"])
    if n < 5:
        raise Failed("Prometheus has scraped %d times (test's own error)" % n)
    return n


def run(report, options):
    if options.truth_only:
        return
    report.cell("telemetry/otlp-http", lambda: receives(options, "http/protobuf"))
    report.cell("telemetry/otlp-grpc", lambda: receives(options, "grpc"))
    report.cell("telemetry/otlp-of-others", lambda: somebody_elses(options))
    report.cell("telemetry/curl", lambda: scraped(options, False))
    report.cell("telemetry/prometheus", lambda: scraped(options, True))
