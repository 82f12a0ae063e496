# SPDX-License-Identifier: Apache-2.0
"""Bytes that want to break the exposition format, the log or the terminal."""
import gzip
import os
import subprocess
import sys
import time
import urllib.request

from lib.proc import HERE, Process, free_port, listener_in_proc, wait_for, which
from lib.report import Failed, Skip
from lib.sonde import losses
from lib.truth import Side
from servers.fronts import Nginx
from servers.handlers import Go, Node

from .group import SETTLE, Group, new_mark, wants_of

ESC = "\x1b[31m\x1b]0;owned\x07"
# Targets that a server may well answer: each is a call.
TARGETS = ['/q"uote', "/back\\slash", "/{a}/{b}", "/%0d%0aInjected:%20x", "/%1b[31mred", "/a'b`c$(id)", "/<script>", "/#frag", "/\xff\xfe\x80\x81",
           "/\xc3\xa9t\xc3\xa9", "/\xe2\x80\xae", "/\xed\xa0\x80", "/a=\"b\",c=\"d\"}", "/" + "x" * 3000, "/" + "/".join("s%d" % i for i in range(300)),
           "/,le=\"+Inf\"", "/?q=" + "%22" * 50, "/\\n#HELP", "*", "http://u:p@h/abs\"olute"]
# Header lines; the target is plain.
HEADERS = ["User-Agent: " + ESC, "Host: ev\"il\\n", "Host: \xff\xfe", "X-A: \x01\x02\x03", "traceparent: 00-" + "f" * 200, "traceparent: " + ESC,
           "tracestate: a=\"" + "\xff" * 100, "Content-Length: 0", "User-Agent: " + "%s%n" * 200, "X: " + "y" * 7000]
# What is no method, no target or no version of HTTP/1: a call of nobody, whatever a server makes of it.
ODD = ["GET /%s HTTP/1.1" % ESC, "GET /a\x00b HTTP/1.1", "GET /a\tb HTTP/1.1", "G\"T / HTTP/1.1", "GET\x1b / HTTP/1.1", "GET  /two-spaces HTTP/1.1",
       "GET /a b HTTP/1.1", "GET / HTTP/1.1\x1b[2J", "GET / HTTP/1.2", "GET / HTTP/2.0", "GET / http/1.1", "GET / HTTX/1.1", "GET /", "get / HTTP/1.1",
       " GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET / HTTP/1.10", "GET / HTTP/01.1", "GET noslash HTTP/1.1"]
# A method that nobody knows: the answer proves that it is HTTP.
BREW = "BREW /pot HTTP/1.1"


def heads():
    must = ["GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % t for t in TARGETS]
    must += ["GET /h HTTP/1.1\r\n%s\r\n\r\n" % h for h in HEADERS]
    large = ["GET /large HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\n\r\n" % ("z" * 60000)]
    must += ["%s\r\nHost: x\r\n\r\n" % BREW]
    return must, large, ["%s\r\nHost: x\r\n\r\n" % o for o in ODD]


def send(group, port, raws):
    # a connection each: one that becomes unknown must not take the next one along
    conns = [{"requests": [{"m": "GET", "t": "/", "raw": r}]} for r in raws]
    done = group.client(["127.0.0.1", port], conns).result()
    if any(d.status != 200 for d in done):
        raise Failed("not all were answered (test's own error)")
    return len(done)


def bytes_are_clean(data, what):
    bad = [b for b in data if (b < 0x20 and b != 0x0a) or b == 0x7f]
    if bad:
        raise Failed("%s: raw byte 0x%02x in it" % (what, bad[0]))
    data.decode("utf-8")  # raises


def c1_free(data, what):
    if any(0x80 <= ord(c) < 0xa0 or c in "\u202e\u202d" for c in data.decode("utf-8")):
        raise Failed("%s: a control character of Unicode in it" % what)


class Run:
    def __init__(self, group, server_port, others):
        self.group, self.port = group, server_port
        self.refusing = [server_port] + [s.port for s in others]

    def wait_for_counts(self, role_counts):
        end = time.monotonic() + SETTLE
        while True:
            self.group.sonde.read()
            have = {r: sum(1 for x in self.group.sonde.lines if x.role == r) for r in role_counts}
            if have == role_counts or time.monotonic() > end:
                return have
            time.sleep(0.02)

    def must(self):
        must, _, _ = heads()
        n = send(self.group, self.port, must)
        have = self.wait_for_counts({"server": n, "client": n})
        if have != {"server": n, "client": n}:
            raise Failed("calls %s, were %d each" % (have, n))
        return "%d requests" % n

    def methods(self):
        """A method that HTTP does not know, on a connection that is known to be HTTP: one value for all of them."""
        before, others = len(self.group.sonde.lines), self._others()
        heads = ["%s /pot HTTP/1.1\r\nHost: x\r\n\r\n" % m for m in ("GET", "BREW", "M-SEARCH", "PROPFIND", "GET")]
        client = self.group.client(["127.0.0.1", self.port], [{"requests": [{"m": "GET", "t": "/pot", "raw": r} for r in heads]}])
        done = len(client.result())
        end = time.monotonic() + SETTLE
        while True:
            self.group.sonde.read()
            made = len(self.group.sonde.lines) - before
            other = self._others() - others
            if (made, other) == (2 * done, 3) or time.monotonic() > end:
                break
            time.sleep(0.02)
        if (made, other) != (2 * done, 3):
            raise Failed("%d calls and %d of _OTHER on the server, were %d and 3" % (made, other, 2 * done))

    def _others(self):
        return self.group.sonde.scrape().sum("http_server_request_duration_seconds_count", http_request_method="_OTHER")

    def large(self):
        """60 kB of head: reported, or counted as lost: made = reported + lost."""
        _, large, _ = heads()
        before, lines = losses(self.group.sonde.scrape()), len(self.group.sonde.lines)
        send(self.group, self.port, large)
        end = time.monotonic() + SETTLE
        while True:
            self.group.sonde.read()
            lost = sum(losses(self.group.sonde.scrape()).values()) - sum(before.values())
            reported = len(self.group.sonde.lines) - lines
            if lost + reported == 2 or time.monotonic() > end:
                break
            time.sleep(0.02)
        if lost + reported != 2:
            raise Failed("2 made, %d reported, %d lost" % (reported, lost))
        return "%d reported, %d lost" % (reported, lost)

    def odd_first(self):
        """As the first of its connection: not a call and no line, at neither end, though each is answered with 200."""
        _, _, odd = heads()
        before, have = self.group.sonde.scrape(), len(self.group.sonde.lines)
        send(self.group, self.port, odd)
        # one that is a call comes after them, and then there is the time that a call may take
        mark = new_mark("hostile-odd")
        done = self.group.client(["127.0.0.1", self.port], [{"requests": [dict(m="GET", t="/?t=" + mark)]}]).result()
        sides = [Side(role, self.port, wants_of(done)) for role in ("server", "client")]
        self.group.check(mark, sides, before)
        time.sleep(1.2)
        self.group.sonde.read()
        after = self.group.sonde.scrape()
        extra = [x.raw for x in self.group.sonde.lines[have:] if mark not in x.target]
        if extra or after.sum("sonde_calls_total") - before.sum("sonde_calls_total") != 2:
            raise Failed("%d of %d odd heads became calls: %s" % (len(extra), 2 * len(odd), extra[:3]))
        return "%d heads, no call" % len(odd)

    def odd_later(self):
        """
        After a request that is one: that one is a call at both ends, and what follows on a connection of its own. What
        is asked for on a connection that had the odd head is a call or none, with the status it had.
        """
        _, _, odd = heads()
        mark = new_mark("hostile-later")
        conns = [{"requests": [dict(m="GET", t="/good?t=%s%d." % (mark, i)), dict(m="GET", t="odd", raw=o), dict(m="GET", t="/after?t=%s%d." % (mark, i))]}
                 for i, o in enumerate(odd)]
        start = len(self.group.sonde.lines)
        refused, checks = 0, []
        for port in self.refusing:
            done = self.group.client(["127.0.0.1", port], conns).result()
            if any(d.status is None for d in done[0::3] + done[2::3]):
                raise Failed("not all were answered (test's own error)")
            refused += sum(o.status != 200 for o in done[1::3])
            checks.append(self._later(port, done, start))

        def wrong():
            self.group.sonde.read()
            return [x for check in checks for x in check()]
        end = time.monotonic() + SETTLE
        while wrong() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(1.2)
        if wrong():
            raise Failed(wrong()[:6])
        return "%d heads at %d servers, which refused %d" % (len(odd), len(self.refusing), refused)

    def _later(self, port, done, start):
        """Returns what says what is wrong about the calls at one server."""
        good, odd, after = done[0::3], done[1::3], done[2::3]
        # a server that closes says that it read no request there; what comes next is on a new connection
        surely = [d.target for d in good] + [a.target for o, a in zip(odd, after) if a.port != o.port]
        maybe = [a.target for o, a in zip(odd, after) if a.port == o.port]
        status = {d.target: d.status for d in good + after}

        def wrong():
            lines = [x for x in self.group.sonde.lines[start:] if x.port == port]
            ret = ["%s: %s of port %d, status %s" % (x.role, x.raw, port, status.get(x.target)) for x in lines
                   if x.target not in status or x.status != status[x.target]]
            for role in ("server", "client"):
                have = [x.target for x in lines if x.role == role]
                ret += ["%s: %s %d times" % (role, t, have.count(t)) for t in surely if have.count(t) != 1]
                ret += ["%s: %s %d times" % (role, t, have.count(t)) for t in maybe if have.count(t) > 1]
            return ret
        return wrong

    def promtool(self):
        if not which("promtool"):
            raise Skip("promtool (prometheus) is not installed")
        text = self.group.sonde.scrape().text
        p = subprocess.run([which("promtool"), "check", "metrics"], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if p.returncode or p.stdout:
            raise Failed("promtool check metrics: status %d: %s" % (p.returncode, p.stdout.decode()[:600]))

    def formats(self):
        url = self.group.sonde.url + "/metrics"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(url, headers={"Accept": "application/openmetrics-text; version=1.0.0"})) as r:
            body, kind = r.read(), r.headers["Content-Type"]
        if not kind.startswith("application/openmetrics-text") or not body.endswith(b"# EOF\n"):
            raise Failed("OpenMetrics: %s, ends in %r" % (kind, body[-20:]))
        bytes_are_clean(body, "OpenMetrics")
        with opener.open(urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})) as r:
            packed, coding, kind = r.read(), r.headers.get("Content-Encoding"), r.headers["Content-Type"]
        if coding != "gzip" or b"http_server_request_duration_seconds" not in gzip.decompress(packed):
            raise Failed("gzip: %s" % coding)
        if "version=0.0.4" not in kind:
            raise Failed("text: %s" % kind)
        bytes_are_clean(gzip.decompress(packed), "text 0.0.4")

    def outputs(self):
        sonde = self.group.sonde
        for path, what in ((sonde.proc.out_path, "lines"), (sonde.proc.err_path, "log")):
            with open(path, "rb") as f:
                bytes_are_clean(f.read(), what)


def text_output(options):
    """The lines for people, too."""
    group = Group(options, "hostile-text")
    try:
        server, port = start_server(group)
        group.start_sonde(show="text")
        must, large, odd = heads()
        send(group, port, must + large + odd)

        def lines():
            with open(group.sonde.proc.out_path, "rb") as f:
                return f.read()
        wait_for(lambda: lines().count(b"\n") >= 2 * len(must), SETTLE, "lines")
        time.sleep(1.2)
        bytes_are_clean(lines(), "text lines")
        c1_free(lines(), "text lines")
    finally:
        group.close()


def start_server(group):
    port = free_port()
    server = Process([sys.executable, os.path.join(HERE, "apps", "anything.py"), str(port)], "anything", group.work, cgroup=group.cgroup)
    wait_for(lambda: listener_in_proc(port), 10, "server")
    return server, port


def run(report, options):
    cells = ["requests", "methods", "large-head", "odd-heads", "odd-later", "promtool", "formats", "outputs", "text"]
    if report.listing:
        for c in cells:
            report.cell("hostile/" + c, None)
        return
    if options.truth_only or not any(report.wanted("hostile/" + c) for c in cells):
        return
    if any(report.wanted("hostile/" + c) for c in cells[:-1]):
        group = Group(options, "hostile")
        try:
            _, port = start_server(group)
            others = [group.start(s) for s in (Nginx(), Node(), Go()) if not s.unavailable()]
            group.start_sonde()
            r = Run(group, port, others)
            for name, cell in zip(cells, (r.must, r.methods, r.large, r.odd_first, r.odd_later, r.promtool, r.formats, r.outputs)):
                report.cell("hostile/" + name, cell, always=name == "requests")
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("hostile/start", fail, always=True)
        finally:
            group.close()
    report.cell("hostile/text", lambda: text_output(options))
