# SPDX-License-Identifier: Apache-2.0
"""
What was really done, and the comparison with what sonde says. Equal means equal: one call too
many fails as one too few does.
"""
import math

ERROR_TYPES = {"peer_closed", "peer_reset", "local_closed", "timeout", "connection_lost"}


class Want:
    """One request that was made. statuses: the allowed ones, None stands for no status at all."""
    __slots__ = ("method", "target", "statuses", "req", "resp", "error")

    def __init__(self, method, target, statuses, req=None, resp=None, error=None):
        self.method, self.target = method, target
        self.statuses = statuses if isinstance(statuses, (set, frozenset, tuple)) else (statuses,)
        self.req, self.resp = req, resp
        self.error = error  # True: an error.type must be there; False: must not; None: either


class Side:
    """One role at one server's port (0: a unix socket): what is wanted there."""

    def __init__(self, role, port, wants):
        self.role, self.port, self.wants = role, port, wants

    def __str__(self):
        return "%s@%s" % (self.role, self.port or "unix")


def _counts(items):
    ret = {}
    for x in items:
        ret.setdefault((x.method, x.target), []).append(x)
    return ret


def _some(items, limit=4):
    text = ", ".join(items[:limit])
    return text + (", …(%d)" % len(items) if len(items) > limit else "")


def _check_call(want, line):
    bad = []
    what = "%s %s" % (want.method, want.target)
    if line.status not in want.statuses:
        bad.append("%s: status %s, was %s" % (what, line.status, "/".join(map(str, want.statuses))))
    if want.req is not None and line.req != want.req:
        bad.append("%s: request body %s, was %d" % (what, line.req, want.req))
    if want.resp is not None and line.resp != want.resp:
        bad.append("%s: response body %s, was %d" % (what, line.resp, want.resp))
    # by the conventions a client's error is a 4xx, too
    status_error = line.status and line.status >= (500 if line.role == "server" else 400)
    if line.status is None and not line.error:
        bad.append("%s: neither status nor error_type" % what)
    if want.error is False and line.error and not status_error:
        bad.append("%s: error_type %s, there was none" % (what, line.error))
    if want.error is True and not line.error:
        bad.append("%s: no error_type" % what)
    if status_error and line.error != str(line.status):
        bad.append("%s: error_type %s with status %d" % (what, line.error, line.status))
    if line.error and not status_error and line.error not in ERROR_TYPES:
        bad.append("%s: error_type %s is not of the closed list" % (what, line.error))
    return bad


def compare(side, lines, some_missing=False):
    """Lines of this cell against one side. Returns a list of differences."""
    mine = [x for x in lines if x.role == side.role and x.port == side.port]
    have, want, bad = _counts(mine), _counts(side.wants), []
    missing = ["%s %s (%d of %d)" % (k[0], k[1], len(have.get(k, [])), len(v)) for k, v in want.items()
               if len(have.get(k, [])) < len(v)]
    extra = ["%s %s (%d, were %d)" % (k[0], k[1], len(v), len(want.get(k, []))) for k, v in have.items()
             if len(v) > len(want.get(k, []))]
    if missing and not some_missing:
        bad.append("%s: missing %s" % (side, _some(missing)))
    if extra:
        bad.append("%s: too many %s" % (side, _some(extra)))
    wrong = []
    for k, v in have.items():
        w = want.get(k, [])
        if len(w) > 1 and len({(x.statuses, x.req, x.resp, x.error) for x in w}) > 1:
            raise AssertionError("equal targets need equal wants: %s" % (k,))
        for line in v[:len(w)]:
            wrong += _check_call(w[0], line)
    if wrong:
        bad.append("%s: %s" % (side, _some(wrong)))
    return bad


def compare_metrics(sides, lines, before, after, unreadable=None):
    """
    The histograms' counts moved by what was made, per role, method and status. Where the truth
    allows several statuses, or calls to be missing, the lines are taken: they were compared before.
    """
    bad = []
    for role in ("server", "client"):
        name = "http_%s_request_duration_seconds_count" % role
        by = ("http_request_method", "http_response_status_code")
        old, new = before.sums(name, *by), after.sums(name, *by)
        moved = {k: int(v - old.get(k, 0)) for k, v in new.items() if v != old.get(k, 0)}
        want = {}
        for side in sides:
            if side.role != role:
                continue
            free = any(len(w.statuses) > 1 for w in side.wants) or (side.role, side.port) == unreadable
            source = ([(x.method, x.status) for x in lines if x.role == role and x.port == side.port] if free else
                      [(w.method, w.statuses[0]) for w in side.wants])
            for method, status in source:
                key = (method, str(status or ""))
                want[key] = want.get(key, 0) + 1
        if moved != want:
            keys = sorted(set(moved) | set(want))
            bad.append("%s: %s" % (name, _some(["%s %s: %d, were %d" % (k[0], k[1] or "no status", moved.get(k, 0), want.get(k, 0))
                                               for k in keys if moved.get(k, 0) != want.get(k, 0)])))
    return bad


def percentile(values, p):
    values = sorted(values)
    return values[max(0, math.ceil(p * len(values)) - 1)]


class Offsets:
    """Durations by sonde against stamps, per request: seconds in, microseconds out."""

    def __init__(self, pairs):
        self.pairs = pairs  # [(stamped, seen)]

    def check(self, what, relative=0.02, absolute=50e-6, points=(0.5, 0.99)):
        """p50 and p99 within the larger of both."""
        bad = []
        for p in points:
            truth = percentile([a for a, _ in self.pairs], p)
            seen = percentile([b for _, b in self.pairs], p)
            if abs(seen - truth) > max(relative * truth, absolute):
                bad.append("%s: p%d %.1f µs, stamped %.1f µs" % (what, p * 100, seen * 1e6, truth * 1e6))
        return bad

    def text(self):
        d = [(b - a) * 1e6 for a, b in self.pairs]
        return "%+.0f/%+.0f/%+.0f" % (percentile(d, 0), percentile(d, 0.5), percentile(d, 0.99))
