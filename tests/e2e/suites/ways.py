# SPDX-License-Identifier: Apache-2.0
"""
Every way in which bytes pass a socket (apps/ways). What can be read is counted exactly at both ends, over IPv4,
IPv6 and unix sockets, from a connection's first byte and when a connection changes to that way and back. What cannot be
read makes no wrong call: it shows in bytes, in the process's state and in losses, the other end stays exact, and the
connection's next readable message is counted again. The truth is what the program at each end counted.
"""
import glob
import itertools
import os
import platform
import re
import socket
import subprocess
import time

from lib import prom
from lib.proc import HERE, TOP, Process, free_port, wait_for, which
from lib.report import Failed, Skip
from lib.sonde import losses
from lib.truth import Side, Want, compare
from servers.handlers import cached, run as run_program

from .group import SETTLE, Group, new_mark, unprinted

PLAIN = "read/write"
FOLDER = os.path.join(HERE, "apps", "ways")
COUNT = "http_%s_request_duration_seconds_count"
UNTIMED = "sonde_calls_untimed_total"
BYTES = "sonde_unreadable_bytes_total"
STATES = ("not_readable", "splice_not_readable", "tls_not_readable", "unjudged")
NAMES = (COUNT % "server", COUNT % "client", "http_server_active", "http_client_active", UNTIMED, BYTES, "sonde_processes", "sonde_tcp_connections",
         "sonde_events_lost", "sonde_exporter_dropped")
_numbers = itertools.count(1)


# --- the program ---

def build(flags, name):
    if not which("cc"):
        raise Skip("no C compiler")
    sources = sorted(glob.glob(os.path.join(FOLDER, "*.[ch]")))
    argv = ["cc", "-O2", "-Wall", "-Werror", "-Wno-psabi", "-D_GNU_SOURCE", "-pthread", "-I" + TOP, "-o", name] + [s for s in sources if s.endswith(".c")]
    return os.path.join(cached(name, sources, lambda f: run_program(argv + flags, f)), name)


def can_compile(text, *flags):
    p = subprocess.run(["cc", "-x", "c", "-o", "/dev/null", "-"] + list(flags), input=text.encode(), stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    return p.returncode == 0


def has_uring():
    return bool(which("cc")) and can_compile("#include <liburing.h>\nint main(void) { struct io_uring r; return io_uring_queue_init(1, &r, 0); }",
                                             "-luring")


def program():
    return build(["-luring"] if has_uring() else ["-DWAYS_NO_URING"], "ways")


def program32():
    if platform.machine() != "x86_64":
        raise Skip("32-bit programs are tried on x86-64 only")
    # gcc-multilib would bring the kernel's headers, and drive out cross compilers
    flags = ["-m32", "-idirafter", "/usr/include/x86_64-linux-gnu"]
    if not can_compile("#include <sys/socket.h>\nint main(void) { return 0; }", *flags):
        raise Skip("no 32-bit C library (libc6-dev-i386, lib32gcc-*-dev)")
    return build(flags + ["-DWAYS_NO_URING"], "ways32")


def need_uring():
    if not has_uring():
        raise Skip("liburing-dev is not installed")
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as f:
            if f.read().strip() != "0":
                raise Skip("io_uring is disabled on this machine")
    except FileNotFoundError:
        pass


class Place:
    """Where one cell's connections are made."""

    def __init__(self, group, families=("tcp4", "tcp6", "unix")):
        self.port = free_port()
        self.path = os.path.join(group.work, "s%d" % next(_numbers))
        names = {"tcp4": "tcp4:127.0.0.1:%d" % self.port, "tcp6": "tcp6:::1:%d" % self.port, "unix": "unix:" + self.path,
                 "abstract": "unix:@sonde-ways-%d-%d" % (os.getpid(), self.port)}
        self.text = ",".join(names[f] for f in families)
        self.tcp = sum(f.startswith("tcp") for f in families)
        self.unix = len(families) - self.tcp


class End:
    """One process of the program, on one end of its connections."""

    def __init__(self, group, role, place, conns, options=(), binary=None, stdin=None, wrap=()):
        argv = list(wrap) + [binary or program(), role, "--at=" + place] + ["--conn=" + c for c in conns] + list(options)
        self.pipe = None
        if stdin is None:
            stdin, self.pipe = os.pipe()
        self.proc = Process(argv, "ways-%s-%d" % (role, next(_numbers)), group.work, cgroup=group.cgroup, stdin=stdin)
        if self.pipe is not None:
            os.close(stdin)

    def wait_for(self, word, timeout=20):
        def said():
            if not self.proc.alive():
                raise RuntimeError("%s ended: %s" % (self.proc.name, self.proc.text(err=True)))
            return "\n%s\n" % word in "\n" + self.proc.text(limit=10**7)
        wait_for(said, timeout, "%s: %s; its errors: %s" % (self.proc.name, word, self.proc.text(err=True, limit=300)))
        return self

    def go_on(self):
        os.write(self.pipe, b"\n")

    def close(self):
        """Its connections; it goes on."""
        self.go_on()
        self.wait_for("closed")

    def end(self):
        """Closes its connections and ends."""
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None
            if self.proc.wait(10):
                raise RuntimeError("%s: %s" % (self.proc.name, self.proc.text(err=True)))
        self.proc.kill()

    def abandon(self):
        if self.pipe is not None:
            os.close(self.pipe)
            self.pipe = None
        self.proc.kill()

    def lines(self, word):
        return [x.split(" ")[1:] for x in self.proc.text(limit=10**7).split("\n") if x.startswith(word + " ")]

    def moved(self):
        """{("read", way): bytes}; known when its connections are closed."""
        return {(d, way): int(n) for d, way, n in self.lines("bytes")}


class Truth:
    """What one end counted: {(method, target): (status, request body, response body, pid)}"""

    def __init__(self, end):
        self.calls = {}
        for _, method, target, status, req, resp, pid in end.lines("call"):
            if (method, target) in self.calls:
                raise Failed("%s twice (test's own error)" % target)
            self.calls[(method, target)] = (int(status), int(req), int(resp), int(pid))

    def wants(self):
        return [Want(m, t, s, req, resp, None if s >= 400 else False) for (m, t), (s, req, resp, _) in self.calls.items()]


def agree(server, client):
    a, b = ({k: v[:3] for k, v in x.calls.items()} for x in (server, client))
    if not a or a != b:
        different = [k for k in set(a) | set(b) if a.get(k) != b.get(k)]
        raise Failed("the two ends disagree about %d of %d calls (test's own error): %s" % (len(different), len(b), different[:2]))


# --- what must hold ---

def scrape(group):
    """Only what is looked at here: the whole is long, and asked for often."""
    text = prom.fetch(group.sonde.url + "/metrics")
    return prom.Scrape("\n".join(x for x in text.split("\n") if x.startswith(NAMES)))


class Odd:
    """
    What is expected of an end that moves bytes in ways that cannot be read. known: how many they were, so they are counted, and the
    process is named as not readable; requests: its requests can be read, so each is reported or lost.
    """

    def __init__(self, role, ways, known=True, requests=False, pure=True):
        self.role, self.ways, self.known, self.requests, self.pure = role, ways, known, requests, pure


def moved_bytes(before, after):
    """Those that could not be read, for whatever reason."""
    return int(after.sum(BYTES) - before.sum(BYTES))


def states(scrape):
    return {s: int(scrape.sum("sonde_processes", state=s)) for s in STATES if scrape.sum("sonde_processes", state=s)}


def counted(before, after, role):
    """Calls in the duration histogram, and those whose time is not known."""
    name = COUNT % role
    return (int(after.sum(name) - before.sum(name)),
            int(after.sum(UNTIMED, role=role) - before.sum(UNTIMED, role=role)))


class Cell:
    def __init__(self, group, name, families=("tcp4", "tcp6", "unix"), conns=None):
        self.group, self.mark = group, new_mark("ways-" + name)
        self.place = Place(group, families)
        self.families = families
        self.opened = self.accepted = None
        self.untimed = ()
        self.before = scrape(group)
        group.sonde.read()
        self.first = len(group.sonde.lines)

    def start(self, role, conns, *options, **kw):
        options = list(options) + (["--mark=" + self.mark] if role == "client" else [])
        end = End(self.group, role, kw.pop("at", self.place.text), conns, options, **kw)
        self.group.ends.append(end)
        return end

    def both(self, server, client, options=(), server_kw=None, client_kw=None):
        """Starts both, waits until all calls are made."""
        self.server = self.start("server", server, *options, **(server_kw or {})).wait_for("listening")
        self.client = self.start("client", client, *options, **(client_kw or {})).wait_for("done")
        return self

    def truths(self):
        """The server logs behind its answer: it may be a moment later than the client."""
        client = Truth(self.client)
        wait_for(lambda: len(self.server.lines("call")) >= len(client.calls), 2, "the server's log")
        server = Truth(self.server)
        agree(server, client)
        return {"server": server, "client": client}

    def lines(self):
        self.group.sonde.read()
        return [x for x in self.group.sonde.lines[self.first:] if self.mark in x.target]

    def strangers(self):
        """Calls of this time that are of no cell: bytes that were not what passed."""
        strange = [x for x in self.group.sonde.lines[self.first:] if self.mark not in x.target]
        return ["%d calls that nobody made: %s" % (len(strange), strange[0].raw)] if strange else []

    def sides(self, role, truth):
        """By port; a unix socket has none. The order of the places is the order of the calls."""
        wants = truth.wants()
        if not self.place.unix or not self.place.tcp:
            return [Side(role, self.place.port if self.place.tcp else 0, wants)]
        each = len(wants) // len(self.families)
        number = lambda w: int(w.target.rsplit(".", 1)[1])
        wants.sort(key=number)
        of = {"tcp": [], "unix": []}
        for i, family in enumerate(self.families):
            of["tcp" if family.startswith("tcp") else "unix"] += wants[i * each:(i + 1) * each]
        return [Side(role, self.place.port, of["tcp"]), Side(role, 0, of["unix"])]

    def wrong_calls(self, role, truth, lines, missing=False, skip=()):
        bad = []
        for side in self.sides(role, truth):
            side.wants = [w for w in side.wants if w.target not in skip]
            bad += compare(side, [x for x in lines if x.target not in skip], missing)
        strange = [x for x in lines if x.role == role and x.port not in (self.place.port, 0)]
        if strange:
            bad.append("calls of no side: %s" % strange[0].raw)
        for x in lines:
            known = truth.calls.get((x.method, x.target)) if x.role == role else None
            if known and x.pid != known[3]:
                bad.append("%s %s: pid %s, was %d" % (role, x.target, x.pid, known[3]))
                break
        return bad

    def exact(self, role, truth, lines, after):
        bad = self.wrong_calls(role, truth, lines)
        timed, untimed = counted(self.before, after, role)
        if timed + untimed != len(truth.calls):
            bad.append("%s: %d calls in the histogram and %d untimed, were %d" % (role, timed, untimed, len(truth.calls)))
        if untimed and role not in self.untimed:
            bad.append("%s: %d calls whose time is not known" % (role, untimed))
        return bad

    def connections(self, after):
        bad = []
        for name, want in (("opened", self.opened), ("accepted", self.accepted)):
            name = "sonde_tcp_connections_%s_total" % name
            labels = {"server_port": str(self.place.port)}
            have = after.sum(name, **labels) - self.before.sum(name, **labels)
            if want is not None and have != want:
                bad.append("%s: %d, were %d" % (name, have, want))
        return bad

    def lost(self, after):
        old = losses(self.before)
        return {k: v - old.get(k, 0) for k, v in losses(after).items() if v != old.get(k, 0)}

    def until_right(self, check):
        end = time.monotonic() + SETTLE
        while True:
            after = scrape(self.group)
            bad = check(self.lines(), after)
            if not bad or time.monotonic() > end:
                break
            time.sleep(0.02)
        if not self.group.sonde.proc.alive():
            bad.append("sonde has died: %s" % self.group.sonde.proc.text(err=True, limit=1500))
        if bad:
            raise Failed(bad)
        return after

    def active(self, after):
        n = [int(after.sum("http_%s_active_requests" % r) - self.before.sum("http_%s_active_requests" % r)) for r in ("server", "client")]
        return ["active requests (server, client) moved by %s" % n] if any(n) else []

    def check_exact(self, quiet=True):
        """Both ends, while their connections are open."""
        truths = self.truths()

        def check(lines, after):
            bad = []
            for role, truth in truths.items():
                bad += self.exact(role, truth, lines, after)
            bad += self.connections(after) + self.active(after) + self.strangers()
            if self.lost(after):
                bad.append("lost: %s" % self.lost(after))
            unread = moved_bytes(self.before, after)
            if quiet and (unread or (states(after) and not self.group.odd)):
                bad.append("all can be read, but %d bytes were not, processes %s" % (unread, states(after)))
            return bad
        self.until_right(check)
        self.finish()
        made = len(truths["client"].calls)
        return "%d calls at both ends" % made

    def finish(self):
        """Ends both, and says what of it was compared."""
        self.client.end()
        self.server.end()
        self.group.compared += len(self.lines())

    def check_odd(self, odd, sure, readable):
        """Of a request's number: must its call be reported, and if it cannot be, must it be counted as lost?"""
        truths = self.truths()
        other = "client" if odd.role == "server" else "server"
        end = getattr(self, odd.role)
        self.client.close()
        self.server.close()
        # it stays, so that its state can be looked at
        self.group.odd += [end] if odd.known else []
        getattr(self, other).end()
        passed = sum(n for (_, way), n in end.moved().items() if way in odd.ways)
        result = {}

        def check(lines, after):
            mine = [x for x in lines if x.role == odd.role]
            bad = self.exact(other, truths[other], lines, after)
            bad += self.wrong_calls(odd.role, truths[odd.role], lines, missing=True)
            bad += self.missing(odd.role, truths[odd.role], mine, sure)
            bad += self.connections(after) + self.active(after) + self.strangers()
            lost, made = sum(self.lost(after).values()), len(truths[odd.role].calls)
            most, least = made, made if odd.requests else sum(readable(int(k[1].rsplit(".", 1)[1])) for k in truths[odd.role].calls)
            if not least <= len(mine) + lost <= most:
                bad.append("%s: %d reported and lost %s, were %d%s" % (odd.role, len(mine), self.lost(after), made,
                                                                          "" if odd.requests else ", readable %d" % least))
            bad += self.bytes(odd, passed, moved_bytes(self.before, after))
            result["note"] = "%s: %d of %d reported, %d lost, %d of %d bytes unread" % (
                odd.role, len(mine), made, lost, moved_bytes(self.before, after), passed)
            return bad
        try:
            self.until_right(check)
        finally:
            self.group.compared += len(self.lines())
        return result["note"]

    def bytes(self, odd, passed, unread):
        # a FIN takes a number of its stream, too
        fins = range(0, 2 * self.place.tcp + 1) if odd.known else (0,)
        if unread - (passed if odd.known else 0) in fins or (not odd.pure and 0 < unread <= passed):
            return []
        return ["%d bytes shown as not readable, %d were" % (unread, passed)]

    @staticmethod
    def missing(role, truth, lines, sure):
        have = {(x.method, x.target) for x in lines}
        gone = [k for k in truth.calls if k not in have and sure(int(k[1].rsplit(".", 1)[1]))]
        numbers = sorted(int(k[1].rsplit(".", 1)[1]) for k in gone)
        return ["%s: %d calls were readable and are missing: numbers %s" % (role, len(gone), numbers[:30])] if gone else []


# --- cells ---

#: ways that can be read: at both ends, (reads/writes, families, plan)
READABLE = [
    ("read/write", None, "mixed"), ("readv/writev", None, "mixed"), ("preadv2/pwritev2", None, "mixed"), ("recv/send", None, "mixed"),
    ("recvfrom/sendto", None, "mixed"), ("recvmsg/sendmsg", None, "mixed"), ("recvmmsg/sendmmsg", None, "mixed"),
    ("peek/more", None, "mixed"), ("peek-often/write", None, "mixed"), ("waitall/sendto", None, "mixed"),
    ("nonblock/nonblock", None, "big"), ("recv0/send0", None, "mixed"), ("oob/oob", None, "mixed"), ("dup/dup", None, "mixed"),
    ("recv/zerocopy", ("tcp4", "tcp6"), "mixed"), ("read/sendfile-body", None, "length"), ("read/splice-body", None, "length"),
]


def readable(group, ways, families, plan):
    cell = Cell(group, ways.replace("/", "-"), families or ("tcp4", "tcp6", "unix"))
    n = 4 if plan == "big" else 18
    # the start of one large send on a unix socket has no hook
    cell.untimed = ("client",) if plan == "big" else ()
    conns = ["%s*%d" % (ways, n), "%s*%d,%s*%d,%s*%d" % (PLAIN, n, ways, n, PLAIN, n)]
    cell.opened = cell.accepted = 2 * cell.place.tcp
    cell.both(conns, conns, ["--plan=" + plan])
    return cell.check_exact()


def body_passed_by(group, reads, role):
    """Bodies of known length leave the socket unread; what they are part of is counted."""
    cell = Cell(group, "%s-%s" % (reads, role), ("tcp4", "tcp6"))
    odd, plain = ["%s/write*20" % reads, "%s*20,%s/write*20,%s*20" % (PLAIN, reads, PLAIN)], [PLAIN + "*20", PLAIN + "*60"]
    cell.opened = cell.accepted = 4
    cell.untimed = (role,)
    cell.both(*((odd, plain) if role == "server" else (plain, odd)), ["--plan=length"])
    return cell.check_exact(quiet=False)


#: ways that cannot be read: (name, reads/writes, families, what is expected). The end of a unix connection is noticed within a second
#: only, so not all of them are tried there: at the role that "unix" names.
TCP = ("tcp4", "tcp6")
UNREADABLE = [
    ("uring", "uring-recv/uring-send", TCP, {"unix": "server"}),
    ("uring-msg", "uring-recvmsg/uring-sendmsg", TCP, {}),
    ("uring-file", "uring-read/uring-write", TCP, {}),
    ("uring-sqpoll", "uring-sqpoll/uring-sqpoll", TCP, {}),
    ("uring-async", "uring-async/uring-send", TCP, {}),
    ("uring-event", "uring-event/uring-send", TCP, {"unix": "server"}),
    ("uring-send", "read/uring-send", TCP, {"half": "writes", "unix": "server"}),
    ("uring-recv", "uring-recv/write", TCP, {"half": "reads", "unix": "client"}),
    ("several", "recvmmsg4/sendmmsg4", TCP, {"unix": "client"}),
    ("several-sent", "read/sendmmsg4", TCP, {"half": "writes", "unix": "client"}),
    ("several-read", "recvmmsg4/write", TCP, {"half": "reads", "unix": "server"}),
    ("sendfile", "read/sendfile", TCP, {"half": "writes", "unix": "server"}),
    ("splice-in", "read/splice", TCP, {"half": "writes", "unix": "client"}),
    ("splice-out", "splice/write", TCP, {"half": "reads"}),
    ("splice-out-unix", "splice/write", ("unix",), {"half": "reads", "known": False}),
    ("splice-body-unix", "splice-body/write", ("unix",), {"half": "reads", "known": False}),
    ("trunc", "trunc/write", TCP, {"half": "reads"}),
    ("zerocopy-read", "zerocopy/write", TCP, {"half": "reads"}),
    ("aio", "aio/aio", TCP, {}),
    ("oob-tail", "read/oob-tail", TCP, {"half": "writes", "pure": False}),
]


EACH = 20  # requests of a phase


def phase(number):
    """Of each place's 80 requests: the first connection is odd, the second is plain, odd, plain."""
    return number % (4 * EACH) // EACH


def sure(odd, number):
    """
    The first message behind the odd ones may be needed to be in step again (and the second, if that was a HEAD), but
    then it is counted as lost. Where nobody can know that bytes passed, nobody can know where the next message begins.
    """
    return phase(number) == 1 or (odd.known and phase(number) == 3 and number % EACH >= 2)


def readable_by(odd, number):
    return phase(number) == 1 or (odd.known and phase(number) == 3)


def unreadable(group, name, ways, families, expect, role, binary=None):
    if "uring" in ways:
        need_uring()
    if expect.get("unix") == role:
        families = tuple(families) + ("unix",)
    half = expect.get("half")
    names = [w for w, h in zip(ways.split("/"), ("reads", "writes")) if half in (None, h)]
    odd = Odd(role, names, expect.get("known", True),
              requests=half == ("writes" if role == "server" else "reads"), pure=expect.get("pure", True))
    cell = Cell(group, "%s-%s" % (name, role), families)
    cell.opened = cell.accepted = 2 * cell.place.tcp
    conns = ["%s*%d" % (ways, EACH), "%s*%d,%s*%d,%s*%d" % (PLAIN, EACH, ways, EACH, PLAIN, EACH)]
    plain = ["%s*%d" % (PLAIN, EACH), "%s*%d" % (PLAIN, 3 * EACH)]
    kw = {"%s_kw" % role: {"binary": binary}} if binary else {}
    cell.both(*((conns, plain) if role == "server" else (plain, conns)), **kw)
    return cell.check_odd(odd, lambda n: not binary and sure(odd, n), lambda n: not binary and readable_by(odd, n))


def compat(group, role):
    """A 32-bit program."""
    return unreadable(group, "bits32", PLAIN, TCP, {"unix": role}, role, program32())


def mode(group, name, places=("tcp4", "tcp6", "unix"), count=40, conns=None):
    cell = Cell(group, name, places)
    cell.opened = cell.accepted = cell.place.tcp
    cell.both(["%s*%d" % (PLAIN, count)], ["%s*%d" % (PLAIN, count)], ["--mode=" + name] if name != "abstract" else [])
    return cell.check_exact()


def handed_over(group):
    """Sockets move to another process by SCM_RIGHTS; the channel's own bytes are nobody's call."""
    cell = Cell(group, "pass")
    cell.opened = cell.accepted = cell.place.tcp
    conns = ["%s*40" % PLAIN]
    cell.server = cell.start("server", conns, "--mode=pass").wait_for("listening")
    cell.client = cell.start("client", conns).wait_for("done")
    return cell.check_exact()


def one_sided(group, name, role):
    """A client of two threads; a process on one side that leaves the connection to its child."""
    cell = Cell(group, "%s-%s" % (name, role))
    cell.opened = cell.accepted = cell.place.tcp
    conns = ["%s*40" % PLAIN]
    cell.server = cell.start("server", conns, *(["--mode=" + name] if role == "server" else [])).wait_for("listening")
    cell.client = cell.start("client", conns, *(["--mode=" + name] if role == "client" else [])).wait_for("done")
    return cell.check_exact()


def activated(group):
    """The listening socket was made by a program outside of the scope, as systemd does for socket activation."""
    cell = Cell(group, "activated", ("tcp4",))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", cell.place.port))
        listener.listen(16)
        conns = ["%s*20" % PLAIN] * 3
        cell.server = cell.start("server", conns, at="fd", stdin=listener).wait_for("listening")
    cell.client = cell.start("client", conns).wait_for("done")
    cell.opened = 3
    return cell.check_exact()


def mptcp(group, who):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError as e:
        raise Skip("no MPTCP here: %s" % e)
    cell = Cell(group, "mptcp-" + who, ("tcp4", "tcp6"))
    cell.opened = cell.accepted = 4
    conns = ["%s*20" % PLAIN, "recvmsg/sendmsg*60"]
    cell.server = cell.start("server", conns, *(["--mptcp"] if who != "client" else [])).wait_for("listening")
    cell.client = cell.start("client", conns, *(["--mptcp"] if who != "server" else [])).wait_for("done")
    return cell.check_exact()


def own_network(cell, setup, *options):
    """Both ends in a network namespace of their own, with settings that this machine's does not have."""
    for tool in ("unshare", "nsenter", "ip"):
        if not which(tool):
            raise Skip("no %s" % tool)
    conns = ["%s*20" % PLAIN, "recvmsg/sendmsg*60"]
    shell = ["unshare", "-n", "/bin/sh", "-ec", "ip link set lo up; %s; exec \"$@\"" % setup, "sh"]
    cell.server = cell.start("server", conns, *options, wrap=shell).wait_for("listening")
    cell.client = cell.start("client", conns, *options, wrap=["nsenter", "-t", str(cell.server.proc.pid), "-n", "--"]).wait_for("done")
    return cell


def netstat(pid, *names):
    """Counters of the network namespace of a process."""
    ret = {}
    with open("/proc/%d/net/netstat" % pid) as f:
        rows = [line.split() for line in f]
    for keys, values in zip(rows[::2], rows[1::2]):
        ret.update(zip(keys[1:], map(int, values[1:])))
    return [ret.get(n, 0) for n in names]


def subflows(group):
    """MPTCP over two paths: one connection, however many subflows carry it."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close()
    except OSError as e:
        raise Skip("no MPTCP here: %s" % e)
    cell = Cell(group, "subflows", ("tcp4",))
    cell.opened = cell.accepted = 2
    own_network(cell, "ip mptcp limits set subflow 2 add_addr_accepted 2; ip addr add 127.0.0.2/8 dev lo; "
                "ip mptcp endpoint add 127.0.0.2 dev lo subflow", "--mptcp")
    joined = netstat(cell.server.proc.pid, "MPJoinAckRx")[0]
    if joined != 2:
        raise Failed("%d subflows were joined, 2 were wanted (test's own error)" % joined)
    return cell.check_exact()


def fast_open(group):
    cell = Cell(group, "fastopen", ("tcp4", "tcp6"))
    cell.opened = cell.accepted = 4
    own_network(cell, "echo 519 >/proc/sys/net/ipv4/tcp_fastopen", "--fastopen")
    with_syn = netstat(cell.server.proc.pid, "TCPFastOpenPassive")[0]
    if with_syn != 4:
        raise Failed("%d connections began with data, 4 were wanted (test's own error)" % with_syn)
    return cell.check_exact()


def late_pairs():
    return [(w, f, p) for w, f, p in READABLE if w not in ("nonblock/nonblock",)]


def late(report, options):
    """Connections that were open before sonde started: counted from their next request on."""
    names = ["ways/late-" + w.replace("/", "-") for w, _, _ in late_pairs()]
    if not any(report.wanted(n) for n in names):
        return
    group = Group(options, "ways-late")
    group.compared, group.ends, group.odd = 0, [], []
    ends = []
    try:
        try:
            for (ways, families, plan), name in zip(late_pairs(), names):
                mark, place = new_mark(name[5:]), Place(group, families or ("tcp4", "tcp6", "unix"))
                conns, options_ = ["%s*27" % ways], ["--plan=" + plan]
                server = End(group, "server", place.text, conns, options_).wait_for("listening")
                client = End(group, "client", place.text, conns, options_ + ["--mark=" + mark, "--pause=9"])
                ends.append((name, mark, place, server, client))
            for _, _, _, _, client in ends:
                client.wait_for("paused")
            group.start_sonde()
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("ways/late-start", fail, always=True)
            return
        for name, mark, place, server, client in ends:
            report.cell(name, lambda: guarded(group, lambda g: late_cell(g, mark, place, server, client)))
        report.cell("ways/late-totals", lambda: totals(group))
    finally:
        for _, _, _, server, client in ends:
            client.abandon()
            server.abandon()
        group.close()


def late_cell(group, mark, place, server, client):
    cell = Cell.__new__(Cell)
    cell.group, cell.mark, cell.place, cell.untimed, cell.first = group, mark, place, (), len(group.sonde.lines)
    cell.opened = cell.accepted = 0
    cell.families = [f for f in ("tcp4", "tcp6", "unix") if f != "unix" or place.unix]
    cell.server, cell.client, cell.before = server, client, scrape(group)
    client.go_on()
    client.wait_for("done")
    full = cell.truths

    def after_start():
        truths = full()
        for t in truths.values():
            t.calls = {k: v for k, v in t.calls.items() if int(k[1].rsplit(".", 1)[1]) % 27 >= 9}
        return truths
    cell.truths = after_start
    return cell.check_exact()


def totals(group):
    """sonde ends in order, and never said more than was compared."""
    dropped = unprinted(scrape(group))
    wrong = group.sonde.stop()
    bad = [wrong] if wrong else []
    if len(group.sonde.lines) != group.compared or dropped:
        bad.append("%d calls in all and %d dropped lines, %d were compared" % (len(group.sonde.lines), dropped, group.compared))
    bad += ["a call that nobody made: %s" % x.raw for x in group.sonde.lines if "stale" in x.target][:1]
    errors = [x for x in group.sonde.proc.text(err=True, limit=100000).split("\n")
              if "level=error" in x or "ERROR:" in x or "runtime error" in x]
    if errors:
        bad.append("sonde's log: %s" % errors[0])
    if bad:
        raise Failed(bad)
    return "%d calls" % group.compared


def processes(group):
    """Those, and only those, that moved bytes which could not be read are named as not readable."""
    alive = [e for e in group.odd if e.proc.alive()]

    def named():
        """One may be in both states."""
        s = states(scrape(group))
        n = [s.pop("not_readable", 0), s.pop("splice_not_readable", 0)]
        return not s and max(n) <= len(alive) <= sum(n)
    try:
        wait_for(named, 3, "states")
    except TimeoutError:
        raise Failed("processes by state %s, %d moved bytes that cannot be read" % (states(scrape(group)), len(alive)))
    for end in alive:
        end.end()
    try:
        wait_for(lambda: not states(scrape(group)), 3, "no states")
    except TimeoutError:
        raise Failed("processes that have ended still show: %s" % states(scrape(group)))
    return "%d not readable, and none when they had ended" % len(alive)


def cells():
    """(name, function of the group)"""
    ret = [("ways/" + w.replace("/", "-"), lambda g, a=(w, f, p): readable(g, *a)) for w, f, p in READABLE]
    for reads in ("splice-body", "trunc-body"):
        ret += [("ways/%s-%s" % (reads, role), lambda g, a=(reads, role): body_passed_by(g, *a)) for role in ("server", "client")]
    ret += [("ways/trunc-unix", lambda g: readable(g, "trunc/write", ("unix",), "mixed")),
            ("ways/abstract", lambda g: mode(g, "abstract", ("abstract",))),
            ("ways/duplex-tcp", lambda g: mode(g, "duplex", ("tcp4", "tcp6"))),
            ("ways/duplex-unix", lambda g: mode(g, "duplex", ("unix",))),
            ("ways/two-threads-client", lambda g: one_sided(g, "halves", "client")),
            ("ways/fork-server", lambda g: one_sided(g, "fork", "server")),
            ("ways/fork-client", lambda g: one_sided(g, "fork", "client")),
            ("ways/handed-over", handed_over), ("ways/activated", activated)]
    ret += [("ways/mptcp-" + who, lambda g, a=who: mptcp(g, a)) for who in ("both", "server", "client")]
    ret += [("ways/mptcp-subflows", subflows), ("ways/fastopen", fast_open)]
    for name, ways, families, expect in UNREADABLE:
        ret += [("ways/%s-%s" % (name, role), lambda g, a=(name, ways, families, expect, role): unreadable(g, *a))
                for role in ("server", "client")]
    ret += [("ways/bits32-" + role, lambda g, a=role: compat(g, a)) for role in ("server", "client")]
    return ret


def guarded(group, cell):
    """A cell that failed leaves no process behind, and its calls are no others' surprise."""
    first = len(group.ends)
    try:
        return cell(group)
    except Exception:
        for end in group.ends[first:]:
            end.abandon()
        try:
            wait_for(lambda: not scrape(group).sum("http_client_active_requests"), 2, "the end of what is left")
        except TimeoutError:
            pass
        raise
    finally:
        group.sonde.read()
        group.compared = len(group.sonde.lines)


def run(report, options):
    all_cells = cells()
    if report.listing:
        for name, _ in all_cells:
            report.cell(name, None)
        for ways, _, _ in late_pairs():
            report.cell("ways/late-" + ways.replace("/", "-"), None)
        return
    if options.truth_only:
        return
    if any(report.wanted(name) for name, _ in all_cells):
        group = Group(options, "ways")
        group.compared, group.ends, group.odd = 0, [], []
        try:
            program()
            group.start_sonde()
            for name, cell in all_cells:
                report.cell(name, lambda: guarded(group, cell))
            report.cell("ways/processes", lambda: processes(group))
            report.cell("ways/totals", lambda: totals(group))
        except Skip as e:
            report.skip("ways/all", str(e))
            return
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("ways/start", fail, always=True)
        finally:
            group.close()
    late(report, options)
