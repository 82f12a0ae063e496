# SPDX-License-Identifier: Apache-2.0
"""
What was really done, and the comparison with what sonde says. Equal means equal: one call too
many fails as one too few does.
"""
import math

ERROR_TYPES = {"peer_closed", "peer_reset", "local_closed", "timeout", "connection_lost"}


class Want:
    """
    One request that was made. statuses: the allowed ones, None stands for no status at all. outcomes: the allowed pairs
    (status, error.type), where that is all that is allowed.
    """
    __slots__ = ("method", "target", "statuses", "req", "resp", "error", "outcomes")

    def __init__(self, method, target, statuses=None, req=None, resp=None, error=None, outcomes=None):
        self.method, self.target, self.outcomes = method, target, outcomes
        if outcomes:
            statuses = {status for status, _ in outcomes}
        self.statuses = statuses if isinstance(statuses, (set, frozenset, tuple)) else (statuses,)
        self.req, self.resp = req, resp
        self.error = error  # True: an error.type must be there; False: must not; None: either


class Side:
    """One role at one server's port (0: a unix socket): what is wanted there."""

    def __init__(self, role, port, wants):
        self.role, self.port, self.wants = role, port, wants

    def __str__(self):
        return "%s@%s" % (self.role, self.port or "unix")


KIND = ("http_request_method", "http_response_status_code", "error_type")


def error_of(role, status):
    """What the status alone makes of a call: by the conventions a client's error is a 4xx, too."""
    return str(status) if status and status >= (500 if role == "server" else 400) else None


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
    if want.outcomes and (line.status, line.error) not in want.outcomes:
        bad.append("%s: status %s and error_type %s, can be %s" % (what, line.status, line.error, sorted(map(str, want.outcomes))))
    if want.req is not None and line.req != want.req:
        bad.append("%s: request body %s, was %d" % (what, line.req, want.req))
    if want.resp is not None and line.resp != want.resp:
        bad.append("%s: response body %s, was %d" % (what, line.resp, want.resp))
    status_error = error_of(line.role, line.status)
    if line.status is None and not line.error:
        bad.append("%s: neither status nor error_type" % what)
    if want.error is False and line.error and not status_error:
        bad.append("%s: error_type %s, there was none" % (what, line.error))
    if want.error is True and not line.error:
        bad.append("%s: no error_type" % what)
    if status_error and line.error != status_error:
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
    The histograms' counts moved by what was made, per role, method, status and error. Where the truth
    allows several, or calls to be missing, the lines are taken: they were compared before.
    """
    bad = []
    for role in ("server", "client"):
        name = "http_%s_request_duration_seconds_count" % role
        moved, want = _moved(name, KIND, before, after), {}
        for side in sides:
            if side.role != role:
                continue
            free = any(len(w.statuses) > 1 or w.error is not False for w in side.wants) or (side.role, side.port) == unreadable
            source = ([(x.method, x.status, x.error) for x in lines if x.role == role and x.port == side.port] if free else
                      [(w.method, w.statuses[0], error_of(role, w.statuses[0])) for w in side.wants])
            for method, status, error in source:
                key = (method, str(status or ""), error or "")
                want[key] = want.get(key, 0) + 1
        if moved != want:
            keys = sorted(k for k in set(moved) | set(want) if moved.get(k, 0) != want.get(k, 0))
            bad.append("%s: %s" % (name, _some(["%s %s %s: %d, were %d" % (k[0], k[1] or "no status", k[2], moved.get(k, 0), want.get(k, 0))
                                               for k in keys])))
    return bad


def _moved(name, by, before, after):
    old, new = before.sums(name, *by), after.sums(name, *by)
    return {k: int(v - old.get(k, 0)) for k, v in new.items() if v != old.get(k, 0)}


def account(sides, before, after, lost):
    """
    made = calls + lost, from the metrics alone. The calls of each role, method, status and error must be as many as
    were made or fewer, and those that are missing must be the losses, exactly. Returns (the calls, what is wrong).
    """
    calls, missing, bad = 0, 0, []
    for role in ("server", "client"):
        moved = _moved("http_%s_request_duration_seconds_count" % role, KIND, before, after)
        want = {}
        for side in sides:
            for w in side.wants if side.role == role else ():
                key = (w.method, str(w.statuses[0]), error_of(role, w.statuses[0]) or "")
                want[key] = want.get(key, 0) + 1
        for key in sorted(set(moved) | set(want)):
            if moved.get(key, 0) > want.get(key, 0):
                bad.append("%s: %d calls of %s, were %d" % (role, moved[key], "/".join(key), want.get(key, 0)))
        # after a loss a call's start may not be known: it is counted apart
        untimed = int(after.sum("sonde_calls_untimed_total", role=role) - before.sum("sonde_calls_untimed_total", role=role))
        here = sum(want.values()) - sum(moved.values()) - untimed
        if here < 0:
            bad.append("%s: %d calls and %d untimed, were %d" % (role, sum(moved.values()), untimed, sum(want.values())))
        if untimed and not lost:
            bad.append("%s: %d untimed calls, and nothing was lost" % (role, untimed))
        missing += here
        calls += sum(moved.values()) + untimed
    if missing != sum(lost.values()):
        bad.append("%d calls are missing, %s are counted as lost" % (missing, lost or "none"))
    return calls, bad


def percentile(values, p):
    values = sorted(values)
    return values[max(0, math.ceil(p * len(values)) - 1)]
