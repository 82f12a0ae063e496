# SPDX-License-Identifier: Apache-2.0
"""
Rules of the configuration, decided in the kernel: what is excluded makes no line and moves no counter of bytes read, and its
neighbour in the same scope is counted exactly.
"""
import os
import shutil
import sys

from lib.cgroup import Cgroup
from lib.client import RawClient
from lib.proc import HERE, Process, wait_for, which
from lib.report import Failed, Skip
from lib.truth import Side
from servers.handlers import Threads

from .group import Group, new_mark, wants_of
from .streams import Stepper

APP = os.path.join(HERE, "apps", "threads.py")


class Named(Threads):
    """A server of ours that differs in one thing from its neighbour."""

    def __init__(self, name, before=(), python=None, environ=None, cgroup=None):
        super().__init__()
        self.name, self.before, self.python = name, list(before), python or sys.executable
        self.environ, self.own_cgroup = environ or {}, cgroup

    def argv(self, work):
        return self.before + [self.python, APP, str(self.port), self.log_path, self.host]

    def env(self):
        return self.environ

    def start(self, cgroup, work):
        super().start(self.own_cgroup or cgroup, work)

    def stop(self):
        super().stop()
        if self.own_cgroup:
            self.own_cgroup.remove()


def records(scrape):
    """Of bytes that were read. A connection's life may be known before its rule is asked."""
    return int(scrape.sum("sonde_events_total", kind="data"))


def write_rules(group, text):
    path = os.path.join(group.work, "sonde.yaml")
    with open(path, "w") as f:
        f.write("rules:\n" + text)
    return "--config.file=" + path


def talk(group, server, mark, n=40):
    conns = [{"requests": [dict(m="GET", t="/get/1?t=%s%d.{n}" % (mark, k), n=n)]} for k in range(2)]
    conns.append({"requests": [dict(m="POST", t="/echo?t=%sp{n}" % mark, n=3, body=100000)]})
    # outside of the scope: its own calls are nobody's, and no rule can be about it
    done = RawClient(server.target, conns, None, group.work, name="outside").result()
    if any(d.status != 200 for d in done):
        raise Failed("a request failed (test's own error)")
    return done


def only(group, counted, excluded):
    """Requests to all; of the excluded not a word, of the others the exact count."""
    mark = new_mark("exclude")
    before = group.before()
    # alone first: nothing may move
    for s in excluded:
        talk(group, s, mark + "x")
    alone = group.before()
    if records(alone) != records(before):
        raise Failed("records came of what is excluded: %d, before %d" % (records(alone), records(before)))
    sides = [Side("server", s.port, wants_of(talk(group, s, mark))) for s in counted]
    for s in excluded:
        talk(group, s, mark + "y")
    group.check(mark, sides, before)
    text = group.sonde.scrape().text
    for s in excluded:
        if 'service_name="%s"' % s.name in text or any(x.port == s.port for x in group.sonde.lines):
            raise Failed("%s is excluded, and mentioned" % s.name)
    return "%d counted, %d not" % (sum(len(s.wants) for s in sides), 2 * 83 * len(excluded))


def with_rules(options, name, make, rules, also=None):
    """make(group) → (counted, excluded); rules(counted, excluded) → YAML."""
    group = Group(options, "exclude-" + name)
    try:
        counted, excluded = make(group)
        for s in counted + excluded:
            group.start(s)
        group.start_sonde([write_rules(group, rules(counted, excluded))])
        note = only(group, counted, excluded)
        if also:
            also(group, counted, excluded)
        group.totals()
        return note
    finally:
        group.close()


def rule(action, **match):
    return "  - match: {%s}\n    action: %s\n" % (", ".join('%s: %s' % (k, v if isinstance(v, int) else '"%s"' % v) for k, v in match.items()), action)


def two(group):
    return [Named("kept")], [Named("left-out")]


def by_uid(options):
    if not which("setpriv"):
        raise Skip("setpriv (util-linux) is not installed")

    def make(group):
        setpriv = [which("setpriv"), "--reuid=65534", "--clear-groups", "--"]
        return [Named("kept")], [Named("left-out", before=setpriv)]
    return with_rules(options, "uid", make, lambda c, x: rule("exclude", uid=65534))


def by_port(options):
    return with_rules(options, "port", two, lambda c, x: rule("exclude", port=x[0].port))


def client_of_port(options):
    """A rule's port is the server's, for its client too."""
    group = Group(options, "exclude-client-port")
    try:
        kept, left_out = group.start(Named("kept")), group.start(Named("left-out"))
        group.start_sonde([write_rules(group, rule("exclude", port=left_out.port))])
        mark = new_mark("exclude-client")
        before = group.before()
        conns = [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=30)]}]
        group.client(left_out.target, conns).result()
        done = group.client(kept.target, conns).result()
        group.check(mark, [Side(r, kept.port, wants_of(done)) for r in ("server", "client")], before)
        group.totals()
        return "60 counted, 60 not"
    finally:
        group.close()


def by_cgroup(options):
    def make(group):
        return [Named("kept")], [Named("left-out", cgroup=Cgroup(group.cgroup.path))]
    return with_rules(options, "cgroup", make, lambda c, x: rule("exclude", cgroup=x[0].own_cgroup.path))


def by_port_of_cgroup(options):
    """All conditions of a rule must hold: the same port's rule is not about another cgroup."""
    def make(group):
        return [Named("kept")], [Named("left-out", cgroup=Cgroup(group.cgroup.path))]

    def rules(counted, excluded):
        inner = excluded[0].own_cgroup.path
        return rule("exclude", cgroup=inner, port=excluded[0].port) + rule("exclude", cgroup=inner, port=counted[0].port)
    return with_rules(options, "port-cgroup", make, rules)


def another_python(group):
    """The same program under another name; its library stays where it is."""
    path = os.path.join(group.work, "secret-python")
    shutil.copy2(os.path.realpath(sys.executable), path)
    return path


def by_exe(options):
    def make(group):
        return [Named("kept")], [Named("left-out", python=another_python(group), environ={"PYTHONHOME": sys.base_prefix})]
    return with_rules(options, "exe", make, lambda c, x: rule("exclude", exe="*/secret-py*"), unjudged_is_told)


def by_env(options):
    def make(group):
        return [Named("kept", environ={"TEST_GROUP": "kept"})], [Named("left-out", environ={"TEST_GROUP": "secret-7"})]
    return with_rules(options, "env", make, lambda c, x: rule("exclude", env="TEST_GROUP=secret*"), unjudged_is_told)


def unjudged_is_told(group, counted, excluded):
    """What passes before a rule was asked is unread, and counted."""
    scrape = group.sonde.scrape()
    if not scrape.get("sonde_events_unjudged_total"):
        raise Failed("sonde_events_unjudged_total is not there")
    if not [s for s in scrape.get("sonde_processes") if s.labels.get("state") == "unjudged"]:
        raise Failed('sonde_processes{state="unjudged"} is not there')


def started_later(options):
    """Programs that start under a running sonde with a rule that only user space can judge."""
    group = Group(options, "exclude-later")
    try:
        secret = another_python(group)
        group.start_sonde([write_rules(group, rule("exclude", exe="*/secret-python") + rule("exclude", env="TEST_GROUP=secret*"))])
        counted = [Named("kept")]
        excluded = [Named("left-out", python=secret, environ={"PYTHONHOME": sys.base_prefix}), Named("left-out-too", environ={"TEST_GROUP": "secret"})]
        for s in counted + excluded:
            group.start(s)
        note = only(group, counted, excluded)
        group.totals()
        return note
    finally:
        group.close()


def early(options):
    """
    curl speaks within milliseconds of its exec. Judged in time or not: a call of it is told, or its bytes
    are counted as unjudged; the excluded one is never told.
    """
    if not which("curl"):
        raise Skip("curl is not installed")
    group = Group(options, "exclude-early")
    try:
        server = group.start(Named("kept"))
        hidden = os.path.join(group.work, "secret-curl")
        shutil.copy2(which("curl"), hidden)
        group.start_sonde([write_rules(group, rule("exclude", exe="*/secret-curl"))])
        mark = new_mark("early")

        def unjudged():
            return group.sonde.scrape().sum("sonde_events_unjudged_total")
        n, before = 20, unjudged()
        for i in range(n):
            for program, who in ((which("curl"), "a"), (hidden, "b")):
                p = Process([program, "-s", "-o", "/dev/null", "http://127.0.0.1:%d/get/1?t=%s%s%d" % (server.port, mark, who, i)],
                            "curl-%s-%d" % (who, i), group.work, cgroup=group.cgroup)
                if p.wait(10):
                    raise Failed("curl failed (test's own error)")

        def lines(role, who):
            group.sonde.read()
            return [x for x in group.sonde.lines if x.role == role and mark + who in x.target]
        try:
            wait_for(lambda: len(lines("server", "a")) == n and len(lines("server", "b")) == n, 4, "server calls")
        except TimeoutError:
            raise Failed("server: %d and %d calls, were %d each" % (len(lines("server", "a")), len(lines("server", "b")), n))
        if lines("client", "b"):
            raise Failed("the excluded curl is told: %s" % lines("client", "b")[0].raw)
        told, passed = len(lines("client", "a")), unjudged() - before
        if told < n and not passed:
            raise Failed("%d of %d calls of curl told, and nothing counted as unjudged" % (told, n))
        return "%d of %d calls of a program that speaks at once, %d reads and writes unjudged" % (told, n, passed)
    finally:
        group.close()


def outside(options):
    """Rules that user space judges do not widen the scope: who was there before sonde and is outside stays unread."""
    group = Group(options, "exclude-outside")
    server = Named("beside")
    try:
        server.start(None, group.work)
        kept = group.start(Named("kept"))
        client = Stepper(group, server, inside=False)
        group.start_sonde([write_rules(group, rule("exclude", exe="*/nobody-has-this-name"))])
        before = group.before()
        for n in range(10):
            client.do("send", "/get/2?t=outside%d" % n)
            client.do("head")
            client.do("read", 2)
        client.end()
        if records(group.before()) != records(before):
            raise Failed("a client outside of the scope was read")
        note = only(group, [kept], [server])
        group.totals()
        return note
    finally:
        server.stop()
        group.close()


def include_port(options):
    return with_rules(options, "include-port", two, lambda c, x: rule("include", port=c[0].port))


def include_uid(options):
    if not which("setpriv"):
        raise Skip("setpriv (util-linux) is not installed")

    def make(group):
        return [Named("kept", before=[which("setpriv"), "--reuid=65534", "--clear-groups", "--"])], [Named("left-out")]
    return with_rules(options, "include-uid", make, lambda c, x: rule("include", uid=65534))


def include_exe(options):
    def make(group):
        return [Named("kept", python=another_python(group), environ={"PYTHONHOME": sys.base_prefix})], [Named("left-out")]
    return with_rules(options, "include-exe", make, lambda c, x: rule("include", exe="*/secret-python"))


def first_match(options):
    """The first rule that holds decides: one port of an excluded user is kept."""
    return with_rules(options, "first", two, lambda c, x: rule("include", port=c[0].port) + rule("exclude", uid=0))


def run(report, options):
    cells = [("uid", by_uid), ("port", by_port), ("port-client", client_of_port), ("cgroup", by_cgroup), ("port-cgroup", by_port_of_cgroup), ("exe", by_exe), ("env", by_env),
             ("later", started_later), ("early", early), ("outside", outside), ("include-port", include_port), ("include-uid", include_uid),
             ("include-exe", include_exe), ("first-match", first_match)]
    if options.truth_only:
        return
    for name, cell in cells:
        report.cell("exclude/" + name, lambda: cell(options))
