# SPDX-License-Identifier: Apache-2.0
"""A real OpenTelemetry Collector receives spans and metrics; what it wrote is compared with the truth."""
import json
import os
import subprocess
import time

from lib.proc import HERE, TOP, Process, free_port, wait_for
from lib.report import Failed, Skip
from lib.truth import Side, compare
from servers.handlers import Node, Threads

from .group import Group, clean_sides, new_mark

KINDS = {2: "server", 3: "client", "SPAN_KIND_SERVER": "server", "SPAN_KIND_CLIENT": "client"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def build():
    here = os.path.join(HERE, "collector")
    p = subprocess.run([os.path.join(here, "build.sh"), os.path.join(TOP, "build", "cache")], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode == 77:
        raise Skip("go is not installed, the Collector cannot be built")
    if p.returncode:
        raise RuntimeError("collector: " + p.stderr.decode("utf-8", "replace")[-800:])
    return p.stdout.decode().strip()


def value(v):
    for kind in ("stringValue", "boolValue", "doubleValue"):
        if kind in v:
            return v[kind]
    return int(v["intValue"]) if "intValue" in v else None


def attributes(items):
    return {a["key"]: value(a["value"]) for a in items or []}


class Collector:
    def __init__(self, binary, work):
        self.out = os.path.join(work, "otlp")
        os.makedirs(self.out)
        self.grpc, self.http = free_port(), free_port()
        env = {"OTLP_GRPC": "127.0.0.1:%d" % self.grpc, "OTLP_HTTP": "127.0.0.1:%d" % self.http, "OTLP_OUT": self.out}
        self.proc = Process([binary, "--config", os.path.join(HERE, "collector", "config.yaml")], "collector", work, env=env)
        wait_for(lambda: self._log("Everything is ready"), 20, "Collector ready")

    def _log(self, text):
        if not self.proc.alive():
            raise RuntimeError("the Collector ended: " + self.proc.text(err=True, limit=800))
        return text in self.proc.text(err=True, limit=10**6)

    def _rows(self, name):
        path = os.path.join(self.out, name)
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return [json.loads(line) for line in f.read().split("\n")[:-1] if line]

    def spans(self):
        """[(resource attributes, span)]"""
        ret = []
        for row in self._rows("traces.jsonl"):
            for rs in row.get("resourceSpans", []):
                resource = attributes(rs["resource"].get("attributes"))
                ret += [(resource, s) for ss in rs.get("scopeSpans", []) for s in ss.get("spans", [])]
        return ret

    def histogram_counts(self, name):
        """{(service, attributes): count}, the latest of each cumulative series."""
        ret = {}
        for row in self._rows("metrics.jsonl"):
            for rm in row.get("resourceMetrics", []):
                resource = attributes(rm["resource"].get("attributes"))
                for sm in rm.get("scopeMetrics", []):
                    for m in sm.get("metrics", []):
                        if m["name"] == name:
                            for p in m["histogram"]["dataPoints"]:
                                key = (resource.get("service.name"), resource.get("service.instance.id"),
                                       tuple(sorted((k, str(v)) for k, v in attributes(p.get("attributes")).items())))
                                ret[key] = int(p["count"])
        return ret


class SpanLine:
    """A span as the comparison wants a call."""

    def __init__(self, span):
        a = attributes(span.get("attributes"))
        self.raw = a
        self.role = KINDS.get(span.get("kind"))
        self.method = a.get("http.request.method")
        if self.role == "client" and "url.full" in a:
            rest = a["url.full"].split("://", 1)[1]
            self.target = "/" + rest.split("/", 1)[1] if "/" in rest else "/"
        else:
            self.target = a.get("url.path", "") + ("?" + a["url.query"] if a.get("url.query") else "")
        self.status = a.get("http.response.status_code")
        self.error = a.get("error.type")
        self.req, self.resp = a.get("http.request.body.size"), a.get("http.response.body.size")
        # a server's own port is network.local.port; a client's is server.port
        self.port = (a.get("network.local.port") or a.get("server.port")) if self.role == "server" else a.get("network.peer.port") or a.get("server.port")
        self.span = span


def check_spans(collector, sides, mark):
    """Counts of spans are equal to what was made, per role, method, target and status."""
    spans = [(r, SpanLine(s)) for r, s in collector.spans()]
    lines = [x for _, x in spans if mark in x.target]
    bad = []
    for role in ("server", "client"):
        wants = [w for s in sides if s.role == role for w in s.wants]
        for w in wants:
            w.req = w.resp = None
        mine = [x for x in lines if x.role == role]
        for x in mine:
            x.port = 0
        bad += compare(Side(role, 0, wants), mine)
    ids = [(x.span["traceId"], x.span["spanId"]) for _, x in spans]
    if len(set(ids)) != len(ids):
        bad.append("span ids are not unique")
    for resource, x in spans:
        if not resource.get("service.name") or int(x.span["endTimeUnixNano"]) < int(x.span["startTimeUnixNano"]):
            bad.append("span without a service, or ending before its start: %s %s" % (resource, x.span))
            break
    return bad


def check_parents(collector, mark):
    """Requests with a traceparent: the same trace, its span id as the parent; with a broken one, a new trace."""
    bad = []
    seen = {"good": 0, "broken": 0}
    for _, span in collector.spans():
        line = SpanLine(span)
        if mark not in line.target:
            continue
        kind = "good" if "good" in line.target else "broken" if "broken" in line.target else None
        if not kind:
            if span.get("parentSpanId"):
                bad.append("a parent nobody gave: %s" % span)
            continue
        seen[kind] += 1
        if kind == "good" and (span["traceId"], span.get("parentSpanId")) != (TRACE, SPAN):
            bad.append("%s: trace %s, parent %s" % (line.role, span["traceId"], span.get("parentSpanId")))
        if kind == "good" and span.get("traceState") != "a=1,b=2":
            bad.append("%s: tracestate %r" % (line.role, span.get("traceState")))
        if kind == "broken" and (span["traceId"] == TRACE or span.get("parentSpanId")):
            bad.append("%s: a broken traceparent was taken" % line.role)
    if seen != {"good": 10, "broken": 10}:
        bad.append("spans with traceparent: %s, were 10 each" % seen)
    return bad[:5]


def check_metrics(collector, sides):
    bad = []
    for role in ("server", "client"):
        made = sum(len(s.wants) for s in sides if s.role == role)
        counts = collector.histogram_counts("http.%s.request.duration" % role)
        if sum(counts.values()) != made:
            bad.append("http.%s.request.duration: %d, were %d" % (role, sum(counts.values()), made))
        for key in counts:
            if not dict(key[2]).get("http.request.method"):
                bad.append("a data point without method: %s" % (key,))
    return bad


def transport(options, protocol):
    binary = build()
    group = Group(options, "collector-" + protocol.split("/")[0])
    collector = None
    try:
        servers = [group.start(s) for s in (Threads(), Node()) if not s.unavailable()]
        collector = Collector(binary, group.work)
        port = collector.grpc if protocol == "grpc" else collector.http
        group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % port, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                               "OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500",
                               "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip" if protocol != "grpc" else "none"})
        mark = new_mark("collector")
        before = group.before()
        parent = {"traceparent": "00-%s-%s-01" % (TRACE, SPAN), "tracestate": "a=1,b=2"}
        broken = {"traceparent": "00-%s-%s-01" % (TRACE.upper()[:-1] + "X", SPAN)}
        sides = []
        for s in servers:
            first = s is servers[0]
            requests = [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=700), dict(m="GET", t="/status/500?t=%s{n}" % mark, n=20),
                        dict(m="POST", t="/echo?t=%s{n}" % mark, n=20, body=5000)]
            if first:
                requests += [dict(m="GET", t="/get/1?t=%sgood{n}" % mark, n=5, h=parent), dict(m="GET", t="/get/1?t=%sbroken{n}" % mark, n=5, h=broken)]
            done = group.client(s.target, [{"requests": requests}]).result()
            sides += clean_sides(s, done, mark)
        group.check(mark, sides, before)
        end = time.monotonic() + 10
        while True:
            bad = check_spans(collector, sides, mark) + check_parents(collector, mark) + check_metrics(collector, sides)
            if not bad or time.monotonic() > end:
                break
            time.sleep(0.1)
        if bad:
            raise Failed(bad)
        group.totals()
        return "%d spans" % sum(len(s.wants) for s in sides)
    finally:
        if collector:
            collector.proc.kill()
        group.close()


def flush_at_end(options):
    """What is queued when SIGTERM comes still leaves."""
    binary = build()
    group = Group(options, "collector-flush")
    collector = None
    try:
        server = group.start(Threads())
        collector = Collector(binary, group.work)
        group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % collector.http, "OTEL_BSP_SCHEDULE_DELAY": "60000",
                               "OTEL_METRIC_EXPORT_INTERVAL": "60000"})
        mark = new_mark("flush")
        before = group.before()
        done = group.client(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=100)]}]).result()
        sides = clean_sides(server, done, mark)
        group.check(mark, sides, before)
        group.totals()

        def all_there():
            return not check_spans(collector, sides, mark) and not check_metrics(collector, sides)
        try:
            wait_for(all_there, 5, "spans")
        except TimeoutError:
            raise Failed(check_spans(collector, sides, mark) + check_metrics(collector, sides))
        return "200 spans"
    finally:
        if collector:
            collector.proc.kill()
        group.close()


def run(report, options):
    if options.truth_only:
        return
    report.cell("collector/http", lambda: transport(options, "http/protobuf"))
    report.cell("collector/grpc", lambda: transport(options, "grpc"))
    report.cell("collector/flush", lambda: flush_at_end(options))
