# SPDX-License-Identifier: Apache-2.0
"""
A real Prometheus scrapes sonde and answers the questions people ask, for all servers of the matrix at
once. Counts come from its samples at two moments and are equal to what was made between them; what its functions
make of them is equal, too, as far as they are exact: rate() extends the time between its first and its last sample
to the whole range, which the test undoes.
"""
import json
import os
import time
import urllib.parse

from lib import prom
from lib.proc import Process, free_port, wait_for, which
from lib.report import Failed
from lib.truth import percentile
from servers.all import servers

from .group import Group, clean_sides, new_mark

RATE = 100  # requests a second, per server
INTERVAL = 0.5
COUNT = "http_%s_request_duration_seconds_count"
BOUNDS = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf")]


class Prometheus:
    def __init__(self, work, target):
        self.port = free_port()
        config = os.path.join(work, "prometheus.yml")
        with open(config, "w") as f:
            f.write("global: {scrape_interval: %dms, scrape_timeout: %dms}\n" % (INTERVAL * 1000, INTERVAL * 1000) +
                    "scrape_configs:\n- job_name: sonde\n  honor_labels: true\n  static_configs: [{targets: ['127.0.0.1:%d']}]\n" % target)
        self.proc = Process([which("prometheus"), "--config.file=" + config, "--storage.tsdb.path=" + os.path.join(work, "tsdb"),
                             "--web.listen-address=127.0.0.1:%d" % self.port, "--log.level=warn"], "prometheus", work)
        wait_for(self._ready, 20, "Prometheus ready")

    def _ready(self):
        try:
            return "Ready" in prom.fetch("http://127.0.0.1:%d/-/ready" % self.port)
        except OSError:
            return False

    def query(self, text, at=None):
        """The result's rows."""
        params = dict({"query": text}, **({"time": "%.3f" % at} if at else {}))
        answer = json.loads(prom.fetch("http://127.0.0.1:%d/api/v1/query?%s" % (self.port, urllib.parse.urlencode(params))))
        if answer["status"] != "success":
            raise Failed("%s: %s" % (text, answer))
        return answer["data"]["result"]

    def by_service(self, text, at):
        """{service name: value}"""
        return {r["metric"].get("service_name", ""): float(r["value"][1]) for r in self.query(text, at)}

    def scraped(self):
        """When the last scrape was made, if it was a good one."""
        rows = self.query('timestamp(up{job="sonde"}) and up{job="sonde"} == 1')
        return float(rows[0]["value"][1]) if rows else 0

    def after_now(self):
        """A moment from which on Prometheus holds what sonde exposes now."""
        now = time.time()
        wait_for(lambda: self.scraped() > now, 10, "a scrape")
        return self.scraped()


def load(group, chosen, mark, blocks):
    """Paced, to all servers at once; of each twenty requests two fail with 500, one takes 15 ms, in the middle of a bucket."""
    clients = []
    for s in chosen:
        extra = {} if "keepalive" in s.features else {"h": {"Connection": "close"}}
        block = ["/get/1?t=%s%d." % (mark, i) for i in range(17)] + ["/status/500?t=%s%d." % (mark, i) for i in range(2)]
        block.append("/delay/15?t=%s" % mark)
        requests = [dict(m="GET", t="%s%d" % (q, k), **extra) for k in range(blocks) for q in block]
        # one instance: its series go on from one load to the next
        clients.append(group.client(s.target, [{"requests": requests[i::4]} for i in range(4)], rate=RATE, threads=4,
                                    env={"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=client"}))
    return [c.result(timeout=60) for c in clients]


def made_by_service(sides, lines):
    """{(role, service): [calls, those with 5xx]}: which service is at a port is in the lines, how many calls is the truth."""
    made = {}
    for side in sides:
        names = {x.service for x in lines if (x.role, x.port) == (side.role, side.port)}
        if len(names) != 1:
            raise Failed("%s is %s" % (side, names))
        entry = made.setdefault((side.role, names.pop()), [0, 0])
        entry[0] += len(side.wants)
        entry[1] += sum(w.statuses[0] >= 500 for w in side.wants)
    return made


class Answers:
    """What Prometheus says about the time between two of its scrapes."""

    def __init__(self, prometheus, first, last):
        self.prometheus, self.first, self.last = prometheus, first, last
        # the range ends with the last scrape and begins after the one before the first: it holds the first as its first sample
        self.range = "%dms" % round((last - first + INTERVAL / 2) * 1000)

    def moved(self, role, match=""):
        """{service: raw difference}"""
        q = "sum by (service_name) (%s{%s})" % (COUNT % role, match)
        old, new = (self.prometheus.by_service(q, at) for at in (self.first, self.last))
        return {k: v - old.get(k, 0) for k, v in new.items()}

    def increase(self, role, match=""):
        """{service: increase()}, what it added for the time before its first sample taken off again"""
        series = '%s{%s}' % (COUNT % role, match)
        rows = self.prometheus.by_service("sum by (service_name) (increase(%s[%s]))" % (series, self.range), self.last)
        stretch = (self.last - self.first + INTERVAL / 2) / (self.last - self.first)
        return {k: v / stretch for k, v in rows.items()}

    def error_ratio(self, role):
        series = COUNT % role
        return self.prometheus.by_service('sum by (service_name) (rate(%s{http_response_status_code=~"5.."}[%s])) / sum by (service_name) (rate(%s[%s]))'
                                          % (series, self.range, series, self.range), self.last)

    def p99(self):
        return self.prometheus.by_service("histogram_quantile(0.99, sum by (le, service_name) (increase(%s[%s])))"
                                          % ((COUNT % "server").replace("_count", "_bucket"), self.range), self.last)


def check(answers, made):
    bad = []
    for role in ("server", "client"):
        here = {service: n for (r, service), n in made.items() if r == role}
        total, errors, ratios = {k: n[0] for k, n in here.items()}, {k: n[1] for k, n in here.items()}, {k: n[1] / n[0] for k, n in here.items()}
        five = 'http_response_status_code=~"5.."'
        for what, said, truth, slack in (
                ("requests", answers.moved(role), total, 0), ("errors", answers.moved(role, five), errors, 0),
                ("errors by type", answers.moved(role, 'error_type="500"'), errors, 0),
                ("all errors", answers.moved(role, 'error_type!=""'), errors, 0),
                ("increase", answers.increase(role), total, 1e-9), ("increase of errors", answers.increase(role, five), errors, 1e-9),
                ("error ratio", answers.error_ratio(role), ratios, 1e-9)):
            if set(said) != set(truth):
                bad.append("%s %s: of %s, were %s" % (role, what, sorted(said), sorted(truth)))
            bad += ["%s %s of %s: %.10g, were %.10g" % (role, what, k, said.get(k, 0), v) for k, v in truth.items()
                    if abs(said.get(k, 0) - v) > slack * v]
    return bad


def p99(said, name, stamped, resolution):
    """The estimate lies in the bucket of the true p99, or in the next one if the truth may be there, too."""
    truth = percentile(stamped, 0.99)
    slack = max(0.02 * truth, 50e-6, resolution)
    low = max([0] + [b for b in BOUNDS if b < truth - slack])
    high = min(b for b in BOUNDS if b >= truth + slack)
    if not low <= said <= high:
        return ["p99 of %s: %.4f s is not in the bucket of the truth, %.4f s" % (name, said, truth)]
    return []


def about_itself(answers):
    """What a dashboard relies on."""
    p, span, bad = answers.prometheus, answers.range, []
    for what, text, want in (
            ("each scrape", 'min_over_time(up{job="sonde"}[%s])' % span, 1),
            ("active requests", "sum(http_server_active_requests) + sum(http_client_active_requests)", 0),
            ("losses", "sum(sonde_events_lost_total) or vector(0)", 0)):
        rows = p.query(text, answers.last)
        if len(rows) != 1 or float(rows[0]["value"][1]) != want:
            bad.append("%s: %s" % (what, rows))
    for role in ("server", "client"):
        plain = p.by_service("sum by (service_name) (%s)" % COUNT % role, answers.last)
        joined = p.by_service("sum by (service_name) (%s * on (service_name, service_namespace, service_instance_id) group_left () target_info)"
                              % COUNT % role, answers.last)
        if plain != joined:
            bad.append("%s: joined with target_info %s, alone %s" % (role, joined, plain))
    return bad


def named(server):
    """The servers behind are one program; each gets a name of its own."""
    if server.back:
        server.back.name = "behind-" + server.name
        server.back.env = lambda: {"OTEL_SERVICE_NAME": server.back.name}
    return server


def ask(group, chosen, prometheus, blocks):
    # of every series a first value, far enough from zero: rate() does not extend below it
    warm, mark = new_mark("prometheus-warm"), new_mark("prometheus")
    sides = lambda m, dones: [side for s, done in zip(chosen, dones) for side in clean_sides(s, done, m)]  # noqa: E731
    before = group.before()
    group.check(warm, sides(warm, load(group, chosen, warm, blocks // 4)), before)
    first, before = prometheus.after_now(), group.before()
    dones = load(group, chosen, mark, blocks)
    made = sides(mark, dones)
    lines = group.check(mark, made, before)
    answers = Answers(prometheus, first, prometheus.after_now())
    services = made_by_service(made, lines)
    bad = check(answers, services) + about_itself(answers)
    quantiles = answers.p99()
    for s in chosen:
        name = next(x.service for x in lines if (x.role, x.port) == ("server", s.port))
        bad += p99(quantiles.get(name, 0), name, [e.duration for e in s.logged(mark)], s.resolution)
    if bad:
        raise Failed(bad)
    return "%d requests to %d servers, %d services" % (sum(map(len, dones)), len(chosen), len(services))


def scenario(options):
    group = Group(options, "prometheus")
    prometheus = None
    try:
        chosen = [group.start(named(s)) for s in servers() if not s.unavailable()]
        group.start_sonde()
        prometheus = Prometheus(group.work, group.sonde.port)
        # its discovery takes five seconds to hand the target over
        wait_for(prometheus.scraped, 20, "first scrape")
        note = ask(group, chosen, prometheus, 12 if options.quick else 24)
        group.totals()
        return note
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
