# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus scrapes sonde and answers the questions people ask."""
import json
import os
import threading
import time
import urllib.parse

from lib import prom
from lib.proc import Process, free_port, wait_for, which
from lib.report import Failed
from lib.truth import percentile
from servers.handlers import Go, Node, Threads

from .group import Group, clean_sides, new_mark

RATE = 200  # requests a second, per server


class Prometheus:
    def __init__(self, work, target):
        self.port = free_port()
        config = os.path.join(work, "prometheus.yml")
        with open(config, "w") as f:
            f.write("global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
                    "scrape_configs:\n- job_name: sonde\n  honor_labels: true\n  static_configs: [{targets: ['127.0.0.1:%d']}]\n" % target)
        self.proc = Process([which("prometheus"), "--config.file=" + config, "--storage.tsdb.path=" + os.path.join(work, "tsdb"),
                             "--web.listen-address=127.0.0.1:%d" % self.port, "--log.level=warn"], "prometheus", work)
        wait_for(self._ready, 20, "Prometheus ready")

    def _ready(self):
        try:
            return "Ready" in prom.fetch("http://127.0.0.1:%d/-/ready" % self.port)
        except OSError:
            return False

    def query(self, text):
        """[(labels, value)]"""
        url = "http://127.0.0.1:%d/api/v1/query?%s" % (self.port, urllib.parse.urlencode({"query": text}))
        answer = json.loads(prom.fetch(url))
        if answer["status"] != "success":
            raise Failed("%s: %s" % (text, answer))
        return [(r["metric"], float(r["value"][1])) for r in answer["data"]["result"]]

    def one(self, text):
        rows = self.query(text)
        if len(rows) != 1:
            raise Failed("%s: %d answers" % (text, len(rows)))
        return rows[0][1]


def load(group, servers, mark, seconds):
    """Paced; one request in ten fails with 500, one in twenty takes 20 ms."""
    clients = []
    for s in servers:
        n = RATE * seconds // 20
        block = [dict(m="GET", t="/get/1?t=%s%d.{n}" % (mark, i)) for i in range(17)]
        block += [dict(m="GET", t="/status/500?t=%s%d.{n}" % (mark, i)) for i in range(2)] + [dict(m="GET", t="/delay/20?t=%s.{n}" % mark)]
        requests = [dict(q, t=q["t"].replace("{n}", str(k))) for k in range(n) for q in block]
        clients.append(group.client(s.target, [{"requests": requests[i::4]} for i in range(4)], rate=RATE, threads=4))
    return [c.result(timeout=seconds + 30) for c in clients]


def near(what, seen, truth, tolerance):
    if abs(seen - truth) > tolerance * truth:
        return ["%s: %.4g, was %.4g (%d %% allowed)" % (what, seen, truth, tolerance * 100)]
    return []


def check(prometheus, name, done):
    """What Prometheus says about one service against the requests that were made."""
    q = 'http_server_request_duration_seconds_count{service_name="%s"}' % name
    bad = []
    total = prometheus.one("sum(%s)" % q)
    if total != len(done):
        bad.append("%s: Prometheus holds %d requests, were %d" % (name, total, len(done)))
    errors = sum(1 for d in done if d.status >= 500)
    held = prometheus.one('sum(%s)' % q.replace('"}', '",http_response_status_code=~"5.."}'))
    if held != errors:
        bad.append("%s: Prometheus holds %d errors, were %d" % (name, held, errors))
    typed = prometheus.one('sum(%s)' % q.replace('"}', '",error_type="500"}'))
    if typed != errors:
        bad.append("%s: error_type: %d, were %d" % (name, typed, errors))
    return bad


def questions(prometheus, names):
    """Asked while the load runs: rate, error ratio."""
    bad = []
    for name in names:
        sel = 'service_name="%s"' % name
        count = "http_server_request_duration_seconds_count"
        bad += near(name + " rate", prometheus.one("sum(rate(%s{%s}[6s]))" % (count, sel)), RATE, 0.1)
        ratio = prometheus.one('sum(rate(%s{%s,http_response_status_code=~"5.."}[6s])) / sum(rate(%s{%s}[6s]))' % (count, sel, count, sel))
        bad += near(name + " error ratio", ratio, 0.1, 0.1)
        client = prometheus.one('sum(rate(http_client_request_duration_seconds_count{http_response_status_code=~"5.."}[6s]))')
        bad += near("client errors", client, RATE * 0.1 * len(names), 0.1)
    return bad


def p99(prometheus, name, stamped):
    """The estimate lies in the bucket of the true p99."""
    bounds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
    estimate = prometheus.one('histogram_quantile(0.99, sum by (le) (http_server_request_duration_seconds_bucket{service_name="%s"}))' % name)
    truth = percentile(stamped, 0.99)
    low = max([0] + [b for b in bounds if b < truth])
    high = min([b for b in bounds if b >= truth])
    if not low <= estimate <= high:
        return ["%s: p99 %.4f s is not in the bucket of the truth, %.4f s" % (name, estimate, truth)]
    return []


def scenario(options):
    group = Group(options, "prometheus")
    prometheus = None
    try:
        servers = [group.start(s) for s in (Threads(), Node(), Go()) if not s.unavailable()]
        names = [{"python": "threads", "node": "matrix-node", "go": "goserver"}[s.name] for s in servers]
        group.start_sonde()
        prometheus = Prometheus(group.work, group.sonde.port)
        # its discovery takes five seconds to hand the target over
        wait_for(lambda: prometheus.query('up{job="sonde"} == 1'), 20, "first scrape")
        mark = new_mark("prometheus")
        before = group.before()
        seconds = 9 if options.quick else 12
        bad = []
        asked = []

        def ask():
            time.sleep(seconds - 1)
            try:
                asked.extend(questions(prometheus, names))
            except Exception as e:
                asked.append("%s: %s" % (type(e).__name__, e))
        t = threading.Thread(target=ask)
        t.start()
        all_done = load(group, servers, mark, seconds)
        t.join()
        bad += asked
        sides = []
        for s, done in zip(servers, all_done):
            sides += clean_sides(s, done, mark)
        group.check(mark, sides, before)
        time.sleep(2.2)  # two scrapes
        for s, name, done in zip(servers, names, all_done):
            bad += check(prometheus, name, done)
            bad += p99(prometheus, name, [e.duration for e in s.logged(mark)])
        bad += near("up", prometheus.one('up{job="sonde"}'), 1, 0)
        if prometheus.query('scrape_samples_post_metric_relabeling{job="sonde"} < 50'):
            bad.append("fewer than 50 samples")
        if bad:
            raise Failed(bad)
        group.totals()
        return "%d requests, %d services" % (sum(map(len, all_done)), len(names))
    finally:
        if prometheus:
            prometheus.proc.kill()
        group.close()


def run(report, options):
    if options.truth_only:
        return
    if not which("prometheus") and not report.listing:
        report.skip("prometheus/red", "prometheus is not installed")
        return
    report.cell("prometheus/red", lambda: scenario(options))
