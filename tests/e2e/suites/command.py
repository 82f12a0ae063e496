# SPDX-License-Identifier: Apache-2.0
"""The command: its words, its refusals (one clear line, exit 1), its signals, tail, and what stays behind it."""
import itertools
import json
import os
import pty
import re
import shutil
import signal
import socket
import sys
import time

from lib import bpf, prom
from lib.cgroup import Cgroup
from lib.client import RawClient
from lib.proc import TOP, Process, free_port, wait_for, which
from lib.report import Failed, Skip
from lib.sonde import Line, Sonde
from lib.truth import Side, Want
from servers.handlers import Threads

from .exclude import Named, another_python, rule
from .group import Group, new_mark, wants_of
from .streams import Stepper

_numbers = itertools.count(1)


class Ran:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err
        self.lines = [x for x in err.split("\n") if x]

    def __str__(self):
        return "exit %s, output %r, errors %r" % (self.status, self.out[-300:], self.err[-600:])


def run_sonde(group, args, env=None, before=(), binary=None, timeout=20):
    p = Process(list(before) + [binary or os.path.abspath(group.options.sonde)] + list(args), "command-%d" % next(_numbers), group.work, env=env)
    status = p.wait(timeout)
    return Ran(status, p.text(limit=10**6), p.text(err=True, limit=10**6))


def refused(ran, *words):
    """One line that names the thing, and exit 1."""
    if ran.status != 1 or len(ran.lines) != 1:
        raise Failed("wanted one line and exit 1: %s" % ran)
    missing = [w for w in words if w not in ran.lines[0]]
    if missing:
        raise Failed("the line does not name %s: %s" % (missing, ran.lines[0]))
    return ran.lines[0]


def scope_of(group):
    return "--scope=cgroup:" + group.cgroup.path


# --- words ---

def version(group):
    ran = run_sonde(group, ["--version"])
    if ran.status or not re.fullmatch(r"sonde \d+\.\d+\.\d+\S*\n", ran.out) or ran.err:
        raise Failed(str(ran))
    return ran.out.strip()


def help_names_all(group):
    ran = run_sonde(group, ["--help"])
    with open(os.path.join(TOP, "user", "options.h")) as f:
        rows = re.findall(r'^\tX\(\w+, [A-Z_]+, "([^"]+)", (?:"([^"]+)"|NULL)', f.read(), re.M)
    missing = [f for f, _ in rows if not re.search(r"^  --(?:\[no-\])?%s\b" % re.escape(f), ran.out, re.M)]
    missing += [e for _, e in rows if e and "[$%s]" % e not in ran.out]
    missing += [w for w in ("tail", "doctor", "check-config", "--version") if w not in ran.out]
    if ran.status or ran.err or len(rows) < 20 or missing:
        raise Failed("%s; not there: %s" % (ran if ran.status else "", missing))
    return "%d options" % len(rows)


BAD = [  # the file, the line of the mistake, words that the message must hold
    ("log:\n  level: loud\n", 2, ["log.level", "loud", "error", "debug"]),
    ("web:\n  listen-adress: 127.0.0.1:1\n", 2, ["listen-adress"]),
    ("metrics:\n  max-series: 10000\n  series-ttl: soon\n", 3, ["series-ttl", "soon"]),
    ("capture:\n  ring-size: 12345\n", 2, ["ring-size", "12345"]),
    ("traces:\n  sampler-arg: 2\n", 2, ["sampler-arg", "2"]),
    ("rules:\n  - match: {port: 80}\n    action: forget\n", 3, ["action", "forget", "exclude"]),
    ("rules:\n  - match: {ports: 80}\n    action: exclude\n", 2, ["ports"]),
    ("rules:\n  - match: {port: 70000}\n    action: exclude\n", 2, ["port", "70000"]),
    ("nonsense: 1\n", 1, ["nonsense"]),
    ("log: [\n", None, []),
]


def check_config(group):
    path = os.path.join(group.work, "check.yaml")

    def check(text, *args):
        with open(path, "w") as f:
            f.write(text)
        return run_sonde(group, ["check-config", "--config.file=" + path] + list(args))
    ran = check("log: {level: debug}\nweb: {listen-address: ['127.0.0.1:9']}\nrules:\n- match: {exe: '*/x'}\n  action: exclude\n")
    if ran.status or ran.err or not ran.out:
        raise Failed("a right file: %s" % ran)
    for text, line, words in BAD:
        refused(check(text), "%s:%s" % (path, line) if line else path, *words)
    refused(run_sonde(group, ["check-config", "--config.file=/nowhere/x.yaml"]), "/nowhere/x.yaml")
    refused(run_sonde(group, ["check-config", "--log.level=loud"]), "--log.level", "loud", "debug")
    refused(run_sonde(group, ["check-config"], env={"SONDE_LOG_LEVEL": "loud"}), "SONDE_LOG_LEVEL", "loud", "debug")
    return "%d wrong files" % len(BAD)


def unknown_words(group):
    refused(run_sonde(group, [scope_of(group), "--no-such-flag=1"]), "--no-such-flag")
    refused(run_sonde(group, [scope_of(group), "--scope=elsewhere"]), "scope", "elsewhere")
    refused(run_sonde(group, [scope_of(group), "word"]), "word")
    refused(run_sonde(group, ["tail", "--status=many", scope_of(group)]), "--status", "many")
    refused(run_sonde(group, ["tail", "-p", "none"]), "-p", "none")


def not_root(group):
    if not which("setpriv"):
        raise Skip("setpriv (util-linux) is not installed")
    binary = os.path.join(group.work, "sonde-for-all")
    shutil.copy2(group.options.sonde, binary)
    os.chmod(binary, 0o755)
    nobody = [which("setpriv")] + NOBODY
    refused(run_sonde(group, [scope_of(group)], before=nobody, binary=binary), "root", "sudo")
    refused(run_sonde(group, ["tail", scope_of(group)], before=nobody, binary=binary), "root", "sudo")
    ran = run_sonde(group, ["doctor", scope_of(group)], before=nobody, binary=binary)
    if ran.status != 1 or "root" not in ran.out:
        raise Failed("doctor as nobody: %s" % ran)


NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def outputs(group):
    """Nothing can be written: one line, exit 1; never a text lost in silence."""
    for words in (["--version"], ["--help"], ["check-config"], ["doctor", "--json", scope_of(group)]):
        refused(run_sonde(group, words, before=["/bin/sh", "-c", 'exec "$0" "$@" >/dev/full']), "standard output", "No space left")
        refused(run_sonde(group, words, before=["/bin/sh", "-c", 'exec "$0" "$@" >&-']), "standard output", "Bad file descriptor")


def config_files(group):
    """Files that cannot be read, and no file at all."""
    def check(path, *words, **kw):
        refused(run_sonde(group, ["check-config", "--config.file=" + path], **kw), path, *words)
    folder, secret = (os.path.join(group.work, x) for x in ("config-folder", "config-secret"))
    os.mkdir(folder)
    check(folder, "directory")
    check("/dev/zero", "MiB")
    if which("setpriv"):
        with open(secret, "w") as f:
            f.write("log: {level: debug}\n")
        os.chmod(secret, 0)
        binary = os.path.join(group.work, "sonde-reads")
        shutil.copy2(group.options.sonde, binary)
        os.chmod(binary, 0o755)
        check(secret, "Permission denied", before=[which("setpriv")] + NOBODY, binary=binary)


def addresses(group):
    for address, why in (("300.1.1.1:80", "ADDRESS:PORT"), ("127.0.0.1", "ADDRESS:PORT"), ("127.0.0.1:99999", "ADDRESS:PORT"),
                         ("192.0.2.1:9", "an address of this machine"), ("no.such.host.invalid:9", "an address of this machine")):
        refused(run_sonde(group, [scope_of(group), "--web.listen-address=" + address]), address, why)


def exporters(group):
    """OpenTelemetry's lists of exporters."""
    for name, good, bad in (("OTEL_TRACES_EXPORTER", ("otlp,console", "none", "console"), ("zipkin", "otlp,nothing", "none,otlp")),
                            ("OTEL_METRICS_EXPORTER", ("otlp, prometheus", "none", "console"), ("statsd", "otlp,nothing", "none,otlp"))):
        for value in good:
            ran = run_sonde(group, ["check-config"], env={name: value})
            if ran.status or ran.err:
                raise Failed("%s=%s: %s" % (name, value, ran))
        for value in bad:
            refused(run_sonde(group, ["check-config"], env={name: value}), name, value, "none")


def surroundings(group):
    """Without standard input, in odd languages, without a terminal's name."""
    tail = ["tail", "--", "/bin/echo", "1,5"]
    for env in ({"LC_ALL": "tr_TR.UTF-8", "LANG": "xx_YY.none"}, {"LC_ALL": "de_DE.UTF-8", "TERM": ""}):
        for before in ((), ["/bin/sh", "-c", 'exec "$0" "$@" <&-']):
            ran = run_sonde(group, tail, env=env, before=before)
            if ran.status or ran.out != "1,5\n" or ran.err:
                raise Failed("%s %s: %s" % (env, before, ran))


def attached(p):
    """Waits until a daemon runs."""
    def there():
        if not p.alive():
            raise Failed("it ended with %s: %s" % (p.p.returncode, p.text(err=True)))
        return "capture is attached" in p.text(err=True)
    wait_for(there, 15, "capture")


def daemon_beside(group, *args):
    """A daemon as a user starts it, without what the tests' own have; attached."""
    p = Process([os.path.abspath(group.options.sonde), "--web.listen-address=none"] + list(args), "beside-%d" % next(_numbers), group.work)
    try:
        attached(p)
    except (Failed, TimeoutError):
        p.kill()
        raise
    return p


def ended(p):
    status = p.stop()
    if status:
        raise Failed("exit %s, %s" % (status, p.text(err=True)))


def second_daemon(group, server):
    """Scopes that share something are refused, others run side by side."""
    def overlaps(first, scope, name):
        line = refused(run_sonde(group, ["--scope=" + scope, "--web.listen-address=none"]), "already observes", name, "process %d" % first.pid)
        if "sonde tail" not in line or "--allow-overlap" not in line:
            raise Failed("the way out is not named: %s" % line)
    mine = group.cgroup.path
    below, apart = os.path.join(mine, "below"), Cgroup()
    inner = Cgroup(under=apart.path)
    os.mkdir(below)
    beside = None
    try:
        for scope in ("cgroup:" + mine, "cgroup:" + below, "pid:%d" % server.proc.pid):
            overlaps(group.sonde.proc, scope, mine)
        beside = daemon_beside(group, "--scope=cgroup:" + inner.path)
        overlaps(beside, "cgroup:" + apart.path, inner.path)
        ended(daemon_beside(group, "--scope=cgroup:" + apart.path, "--allow-overlap"))
        ended(beside)
        # gone with its process
        ended(daemon_beside(group, "--scope=cgroup:" + apart.path))
    finally:
        if beside:
            beside.kill()
        os.rmdir(below)
        inner.remove()
        apart.remove()
    return "4 refused, 3 side by side"


def port_taken(group):
    other = Group(group.options, "command-port")
    try:
        with socket.create_server(("127.0.0.1", free_port())) as s:
            address = "127.0.0.1:%d" % s.getsockname()[1]
            refused(run_sonde(group, [scope_of(other), "--web.listen-address=" + address]), address)
            ran = run_sonde(group, [scope_of(other), "--web.listen-address=127.0.0.1:%d" % free_port(), "--web.listen-address=" + address])
            refused(ran, address)
    finally:
        other.close()


def doctor(group):
    text = run_sonde(group, ["doctor", scope_of(group)])
    if text.status not in (0, 2) or "rung" not in text.out or not text.out.strip().split("\n")[-1]:
        raise Failed(str(text))
    ran = run_sonde(group, ["doctor", "--json", scope_of(group)])
    d = json.loads(ran.out)
    missing = [f["name"] for f in d["features"] if not f["present"]]
    if ran.status != {"ok": 0, "degraded": 2}.get(d["result"]) or ran.status != text.status or not d["rung"]:
        raise Failed("exit %s, result %s, rung %s" % (ran.status, d["result"], d["rung"]))
    if bool(missing) != (ran.status == 2) and not any(not p["readable"] for p in d["programs"]):
        raise Failed("missing %s and exit %d" % (missing, ran.status))
    # root is told the mode; who is not told which, is told why
    usual = "/sys/kernel/security/lockdown"
    if os.path.exists(usual):
        with open(usual) as f:
            right = [x.strip("[]") for x in f.read().split() if x.startswith("[")] == [d["lockdown"]] and not d["lockdown_note"]
    else:
        right = d["lockdown"] in ("none", "integrity", "confidentiality", "unknown") and d["lockdown_note"]
    if not right or "lockdown " + d["lockdown"] not in text.out or d["lockdown_note"] not in text.out:
        raise Failed("lockdown %s (%s); %s" % (d["lockdown"], d["lockdown_note"], text.out.split("\n")[0]))
    if "data_ready" not in {f["name"] for f in d["features"]}:
        raise Failed("it does not say what the wait metric needs")
    return "rung %s, lockdown %s, exit %d" % (d["rung"], d["lockdown"], ran.status)


# --- tail ---

def json_lines(text):
    return [Line(json.loads(x)) for x in text.split("\n") if x.startswith("{")]


def expect(lines, want, what):
    """want: [(role, method, target, status)], in any order."""
    have = sorted((x.role, x.method, x.target, x.status or 0) for x in lines)
    if have != sorted(want):
        raise Failed("%s: %s, were %s" % (what, have, sorted(want)))


def need_curl():
    if not which("curl"):
        raise Skip("curl is not installed")


def url(server, target):
    return "http://127.0.0.1:%d%s" % (server.port, target)


def tail_pid(group, server):
    """A running process; the daemon beside it goes on."""
    mark = new_mark("tail-pid")
    tail = Process([os.path.abspath(group.options.sonde), "tail", "--json", "-p", str(server.proc.pid)], "tail", group.work)
    probes = itertools.count(1)
    before = group.before()
    sent = []

    def attached():
        if not tail.alive():
            raise Failed("tail ended: %s" % tail.text(err=True))
        sent.append("/get/1?t=%sprobe%d" % (mark, next(probes)))
        RawClient(server.target, [{"requests": [dict(m="GET", t=sent[-1])]}], None, group.work, name="probe").result()
        return json_lines(tail.text(limit=10**7))
    try:
        wait_for(attached, 15, "tail's first line")
        done = RawClient(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=50), dict(m="GET", t="/status/404?t=%s" % mark)]}],
                         None, group.work, name="outside").result()
        made = [("server", d.method, d.target, d.status) for d in done]

        def mine():
            return [x for x in json_lines(tail.text(limit=10**7)) if "probe" not in x.target]
        try:
            wait_for(lambda: len(mine()) >= len(made), 4, "tail's lines")
        except TimeoutError:
            pass
        time.sleep(0.2)
        expect(mine(), made, "tail -p")
        group.check(mark, [Side("server", server.port, wants_of(done) + [Want("GET", t, 200, 0, 1, False) for t in sent])], before)
        start = time.monotonic()
        status = tail.stop(sig=signal.SIGINT)
        if status != 0 or tail.text(err=True):
            raise Failed("after SIGINT: exit %s, errors %s" % (status, tail.text(err=True)))
        return "%d calls, ended in %.2f s" % (len(made), time.monotonic() - start)
    finally:
        tail.kill()


def tail_command(group, server):
    """A command that it starts: its calls, its exit status, its user, its children."""
    need_curl()
    mark = new_mark("tail-command")
    target = "/get/5?t=" + mark
    quiet = [which("curl"), "-s", "-o", "/dev/null"]
    ran = run_sonde(group, ["tail", "--json", "--"] + quiet + [url(server, target)])
    if ran.status or ran.err:
        raise Failed(str(ran))
    expect(json_lines(ran.out), [("client", "GET", target, 200)], "tail -- curl")
    # by a grandchild; for people
    ran = run_sonde(group, ["tail", "--", "/bin/sh", "-c", "%s %s; exit 3" % (" ".join(quiet), url(server, target + "b"))])
    lines = [x for x in ran.out.split("\n") if x]
    if ran.status != 3 or ran.err or len(lines) != 1 or not re.search(r"-> GET /get/5\S* +200 ", lines[0]) or "\033" in lines[0]:
        raise Failed("for people: %s" % ran)
    refused_port = free_port()
    for argv, want in ((quiet + ["http://127.0.0.1:%d/" % refused_port], 7), (["/bin/sh", "-c", "kill -9 $$"], 137)):
        ran = run_sonde(group, ["tail", "--json", "--"] + argv)
        if ran.status != want or json_lines(ran.out):
            raise Failed("exit status of %s: %s, was %d" % (argv[0], ran, want))
    ran = run_sonde(group, ["tail", "--", "/no/such/program"])
    if ran.status != 127 or "/no/such/program" not in ran.err:
        raise Failed(str(ran))


def tail_user(group):
    """As the user who called sudo: ids, groups, home; nothing of sudo is left."""
    show = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME; env | grep -c ^SUDO_"
    for uid, gid, want in (("65534", "65534", "65534\n65534\n65534\n/nonexistent nobody nobody\n0\n"),
                           ("54321", "54322", "54321\n54322\n54322\n/root root root\n0\n")):
        ran = run_sonde(group, ["tail", "--", "/bin/sh", "-c", show],
                        env={"SUDO_UID": uid, "SUDO_GID": gid, "SUDO_USER": "nobody", "SUDO_COMMAND": "x", "HOME": "/root", "USER": "root",
                             "LOGNAME": "root"})
        if ran.out != want or ran.err:
            raise Failed("user %s: %s" % (uid, ran))


def tail_stdin(group):
    path = os.path.join(group.work, "stdin")
    with open(path, "w") as f:
        f.write("one\ntwo\n")
    with open(path) as f:
        p = Process([os.path.abspath(group.options.sonde), "tail", "--", "/bin/cat"], "tail-stdin", group.work, stdin=f)
        status = p.wait(20)
    if status or p.text() != "one\ntwo\n" or p.text(err=True):
        raise Failed("exit %s, output %r, errors %r" % (status, p.text(), p.text(err=True)))
    refused(run_sonde(group, ["tail", "--"]), "--", "command")
    ran = run_sonde(group, ["tail", "--scope=pid:4194304", "--", "/bin/echo", "ran"])
    refused(ran, "4194304")
    time.sleep(0.2)  # for a command that is started although sonde ended
    if "ran" in ran.out:
        raise Failed("the command ran unobserved")


TRAP = """trap 'echo interrupted; exit 5' INT; trap 'echo ended; exit 6' TERM HUP; echo up; while :; do sleep 0.05; done"""


def tail_signals(group):
    """A signal is the command's; so is the exit status."""
    deaf = "trap '' INT TERM; echo up; n=0; while [ $n -lt 80 ]; do sleep 0.05; n=$((n+1)); done"
    for script, sigs, want in ((TRAP, [signal.SIGINT], (5, "up\ninterrupted\n")), (TRAP, [signal.SIGTERM], (6, "up\nended\n")),
                               (TRAP, [signal.SIGHUP], (6, "up\nended\n")), ("echo up; sleep 20", [signal.SIGTERM], (143, "up\n")),
                               (deaf, [signal.SIGINT, signal.SIGTERM], (143, "up\n"))):
        p = Process([os.path.abspath(group.options.sonde), "tail", "--", "/bin/sh", "-c", script], "tail-signal-%d" % next(_numbers), group.work)
        try:
            wait_for(lambda: "up" in p.text(), 15, "the command")
            for sig in sigs:
                p.p.send_signal(sig)
                time.sleep(0.1)  # the first must not end it
                if sig != sigs[-1] and not p.alive():
                    raise Failed("%s ended it" % sig)
            start = time.monotonic()
            have = (p.wait(6), p.text())
            if have != want or p.text(err=True) or time.monotonic() - start > 5:
                raise Failed("%s: %s, was %s; errors %r" % (sigs, have, want, p.text(err=True)))
        finally:
            p.kill()


def tail_terminal(group):
    """Ctrl-C: the command gets it once, from the terminal, and decides."""
    pid, fd = pty.fork()
    if not pid:
        os.execv(os.path.abspath(group.options.sonde), ["sonde", "tail", "--", "/bin/sh", "-c", TRAP.replace("exit 5", "sleep 0.5; exit 5")])
    said = b""
    try:
        while b"up" not in said:
            said += os.read(fd, 1000)
        os.write(fd, b"\x03")
        try:
            while True:
                said += os.read(fd, 1000)
        except OSError:
            pass  # the terminal's other end is closed
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(fd)
    said = said.decode().replace("\r", "").replace("^C", "")
    if status != 5 or said != "up\ninterrupted\n":
        raise Failed("exit %s, said %r" % (status, said))


def tail_background(group, server):
    """What the command leaves running is followed; its exit status stays the command's."""
    need_curl()
    target = "/get/1?t=" + new_mark("tail-background")
    ran = run_sonde(group, ["tail", "--json", "--", "/bin/sh", "-c", "(sleep 0.4; exec curl -s -o /dev/null '%s') & exit 4" % url(server, target)])
    if ran.status != 4 or len(ran.lines) != 1 or "still followed" not in ran.lines[0]:
        raise Failed(str(ran))
    expect(json_lines(ran.out), [("client", "GET", target, 200)], "in the background")


def filters(group, server):
    need_curl()
    mark = new_mark("tail-filter")
    a, b, c = ("/get/1?t=" + mark, "/status/404?t=" + mark, "/delay/120?t=" + mark)
    command = [which("curl"), "-s", "-o", "/dev/null", url(server, a), "-o", "/dev/null", url(server, b), "-o", "/dev/null", url(server, c),
               "--next", "-s", "-o", "/dev/null", "-d", "x=1", url(server, "/echo?t=" + mark)]
    all4 = [("client", "GET", a, 200), ("client", "GET", b, 404), ("client", "GET", c, 200), ("client", "POST", "/echo?t=" + mark, 200)]
    cases = [([], all4), (["--status=4xx"], all4[1:2]), (["--status=200"], [all4[0], all4[2], all4[3]]), (["--method=post"], all4[3:]),
             (["--path=/status/*"], all4[1:2]), (["--min-duration=100ms"], all4[2:3]), (["--role=client"], all4), (["--role=server"], []),
             (["--service=curl", "--status=2xx", "--method=GET"], [all4[0], all4[2]]), (["--service=other*"], [])]
    # in turn, two at a time: each loads its programs first
    todo, bad = list(cases), []
    while todo:
        pair, todo = todo[:2], todo[2:]
        running = [(Process([os.path.abspath(group.options.sonde), "tail", "--json"] + f + ["--"] + command, "filter-%d" % next(_numbers), group.work), f, w)
                   for f, w in pair]
        for p, f, want in running:
            if p.wait(20) != 0:
                bad.append("%s: exit %s, %s" % (f, p.p.returncode, p.text(err=True)))
                continue
            try:
                expect(json_lines(p.text(limit=10**6)), want, " ".join(f) or "no filter")
            except Failed as e:
                bad += e.what
    if bad:
        raise Failed(bad)
    return "%d filters" % len(cases)


# --- signals ---

def counted(group, server, what, n=20):
    mark = new_mark(what)
    before = group.before()
    done = RawClient(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=n)]}], None, group.work).result()
    group.check(mark, [Side("server", server.port, wants_of(done))], before)


def not_counted(group, server, what, n=20):
    """Nothing of it is told; a call of the neighbour that is made behind it is, so there was time to."""
    mark = new_mark(what)
    before = group.sonde.scrape().sum("http_server_request_duration_seconds_count")
    RawClient(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=n)]}], None, group.work).result()
    return lambda: told_nothing(group, mark, before)


def told_nothing(group, mark, before, others=20):
    group.sonde.read()
    lines = [x for x in group.sonde.lines if mark in x.target]
    now = group.sonde.scrape().sum("http_server_request_duration_seconds_count")
    if lines or now != before + others:
        raise Failed("excluded, and told: %d lines, %d calls in the metrics, were %d" % (len(lines), now - before, others))


def signals(group, server):
    for sig in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        group.sonde.proc.p.send_signal(sig)
        counted(group, server, "signals")
        if not group.sonde.proc.alive():
            raise Failed("%s killed it" % sig)


def flush(options):
    """SIGTERM at once behind the last answer: everything that was made is told."""
    group = Group(options, "command-flush")
    try:
        server = group.start(Threads())
        group.start_sonde()
        mark = new_mark("flush")
        done = group.client(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s%d.{n}" % (mark, k), n=100)]} for k in range(4)], threads=4).result()
        start = time.monotonic()
        wrong = group.sonde.stop()
        took = time.monotonic() - start
        if wrong or took > 5:
            raise Failed(wrong or "it took %.1f s" % took)
        if len(group.sonde.lines) != 2 * len(done):
            raise Failed("%d lines, were %d" % (len(group.sonde.lines), 2 * len(done)))
        return "%d lines, ended in %.2f s" % (len(group.sonde.lines), took)
    finally:
        group.close()


class Reload:
    """A daemon with a file that changes under it."""

    def __init__(self, group):
        self.group, self.path = group, os.path.join(group.work, "sonde.yaml")
        self.write("")

    def write(self, text):
        with open(self.path + ".new", "w") as f:
            f.write(text)
        os.rename(self.path + ".new", self.path)

    def hup(self, text, word):
        """What it logged about it, once `word` is there."""
        self.write(text)
        proc = self.group.sonde.proc
        at = len(proc.text(err=True, limit=10**7))
        proc.p.send_signal(signal.SIGHUP)
        try:
            wait_for(lambda: word in proc.text(err=True, limit=10**7)[at:], 3, "reload")
        except TimeoutError:
            raise Failed("after SIGHUP no log line with %r: %s" % (word, proc.text(err=True, limit=10**7)[at:]))
        time.sleep(0.05)  # the lines behind that one
        return proc.text(err=True, limit=10**7)[at:]


DONE, KEPT = "the configuration was reloaded", "old settings stay"


def reload(options):
    group = Group(options, "command-reload")
    try:
        kept = group.start(Named("kept"))
        secret = group.start(Named("secret", python=another_python(group), environ={"PYTHONHOME": sys.base_prefix}))
        r = Reload(group)
        group.start_sonde(["--config.file=" + r.path])
        counted(group, kept, "reload")
        counted(group, secret, "reload")
        open_before = Stepper(group, secret, inside=False)
        for text in (rule("exclude", exe="*/secret-python"), rule("exclude", port=secret.port)):
            r.hup("rules:\n" + text, DONE)
            # also on a connection that was read before
            open_before.do("send", "/get/1?t=open-before")
            open_before.do("head")
            open_before.do("read", 1)
            check = not_counted(group, secret, "reload-excluded")
            counted(group, kept, "reload")
            check()
            said = r.hup("rules:\n  - match: {prt: 1}\n    action: exclude\n", KEPT)
            if r.path + ":2" not in said or "prt" not in said or DONE in said:
                raise Failed("a broken file: %s" % said)
            check = not_counted(group, secret, "reload-broken")
            counted(group, kept, "reload")
            check()
            r.hup("", DONE)
            counted(group, secret, "reload-back")
        if any("open-before" in x.target for x in group.sonde.lines):
            raise Failed("an excluded call on an open connection is told")
        r.hup("metrics: {exclude-paths: ['/get/*']}\n", DONE)
        mark = new_mark("reload-path")
        before = group.before()
        requests = [dict(m="GET", t="/get/1?t=%sleft-out{n}" % mark, n=20), dict(m="GET", t="/status/404?t=%s" % mark)]
        done = RawClient(kept.target, [{"requests": requests}], None, group.work).result()
        group.check(mark, [Side("server", kept.port, wants_of(done[-1:]))], before)
        said = r.hup("capture: {ring-size: 8MiB}\nweb: {telemetry-path: /other}\n", DONE)
        for key in ("capture.ring-size", "web.telemetry-path"):
            if not re.search(re.escape(key) + r".*restart", said):
                raise Failed("%s cannot be changed, and it does not say so: %s" % (key, said))
        counted(group, kept, "reload")
        open_before.end()
        wrong = group.sonde.stop()
        if wrong or any(("reload-excluded" in x.target or "left-out" in x.target) for x in group.sonde.lines):
            raise Failed(wrong or "an excluded call is told")
        return "%d calls told" % len(group.sonde.lines)
    finally:
        group.close()


# --- standard output and exporters ---

def ask(group, server, mark, n):
    return RawClient(server.target, [{"requests": [dict(m="GET", t="/get/1?t=%s{n}" % mark, n=n)]}], None, group.work).result()


def lost_output(options):
    """Lines that nobody takes: a reader that has seen enough is the end, a full disk an error; both at once."""
    group = Group(options, "command-output")
    try:
        server = group.start(Threads())
        for name, shell, status in (("head", '"$0" "$@" | head -n 1 >/dev/null; exit ${PIPESTATUS[0]}', 0), ("full", 'exec "$0" "$@" >/dev/full', 1)):
            p = Process(["/bin/bash", "-c", shell, os.path.abspath(options.sonde), "--allow-overlap", "--print=text", "--web.listen-address=none",
                         scope_of(group)], "output-" + name, group.work)
            try:
                attached(p)
                for _ in range(3):
                    ask(group, server, "output", 1)
                    time.sleep(0.1)
                have = p.wait(5)
                errors = [x for x in p.text(err=True).split("\n") if "level=info" not in x and x]
                if have != status or len(errors) != status or status and "No space left" not in errors[0]:
                    raise Failed("%s: exit %s, errors %s" % (name, have, errors))
            finally:
                p.kill()
    finally:
        group.close()


def console(options):
    """OTEL_*_EXPORTER=console: each call's span as a line of JSON, and metrics as text."""
    group = Group(options, "command-console")
    try:
        server = group.start(Threads())
        group.start_sonde(env={"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"},
                          show="none")
        mark = new_mark("console")
        done = ask(group, server, mark, 30)
        out = group.sonde.proc
        if out.stop(timeout=6) != 0:
            raise Failed("it did not end well: %s" % out.text(err=True))
        text = out.text(limit=10**7)
        spans = [json.loads(x) for x in text.split("\n") if x.startswith("{")]
        have = sorted((x["kind"], x["attributes"]["http.response.status_code"], "%s?%s" % (x["attributes"]["url.path"], x["attributes"]["url.query"]))
                      for x in spans if x["kind"] == "server")
        if have != sorted(("server", d.status, d.target) for d in done):
            raise Failed("%d spans, were %d: %s" % (len(have), len(done), have[:2]))
        if len({x["spanId"] for x in spans}) != len(spans) or not all(re.fullmatch("[0-9a-f]{32}", x["traceId"]) for x in spans):
            raise Failed("ids: %s" % spans[:2])
        scrape = prom.Scrape("".join(x + "\n" for x in text.split("\n") if not x.startswith("{")))
        if scrape.sum("http_server_request_duration_seconds_count") != len(done):
            raise Failed("metrics count %s calls, were %d" % (scrape.sum("http_server_request_duration_seconds_count"), len(done)))
        return "%d spans" % len(spans)
    finally:
        group.close()


def dead_endpoint(options):
    """An endpoint that does not even answer a SYN, and a full queue: calls are counted, SIGTERM ends it in time."""
    group = Group(options, "command-dead-endpoint")
    waiting = []
    try:
        server = group.start(Threads())
        with socket.socket() as hole:
            hole.bind(("127.0.0.1", free_port()))
            hole.listen(0)
            # nobody accepts: further connections are not answered
            for _ in range(4):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(hole.getsockname())
                waiting.append(s)
            group.start_sonde(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:%d" % hole.getsockname()[1], "OTEL_BSP_MAX_QUEUE_SIZE": "64",
                                   "OTEL_BSP_SCHEDULE_DELAY": "10", "OTEL_METRIC_EXPORT_INTERVAL": "100"})
            counted(group, server, "dead-endpoint", 500)
            dropped = group.sonde.scrape().sum("sonde_exporter_dropped_total", exporter="otlp", signal="traces")
            start = time.monotonic()
            wrong = group.sonde.stop()
            took = time.monotonic() - start
        if wrong or took > 5 or dropped < 300:
            raise Failed(wrong or "%d spans dropped, it took %.1f s" % (dropped, took))
        return "%d spans dropped, ended in %.2f s" % (dropped, took)
    finally:
        for s in waiting:
            s.close()
        group.close()


# --- what stays behind ---

def killed(options):
    """kill -9: nothing of it is left in the kernel, and the next one sees what still runs."""
    if bpf._NR is None:
        raise Skip("bpf()'s number is not known on this machine")
    group = Group(options, "command-killed")
    try:
        server = group.start(Threads())
        client = Stepper(group, server)
        group.start_sonde()
        mark = new_mark("killed")

        def one(target):
            client.do("send", target)
            client.do("head")
            client.do("read", 1)
            return [Side(role, server.port, [Want("GET", target, 200, 0, 1, False)]) for role in ("server", "client")]
        before = group.before()
        group.check(mark + "a", one("/get/1?t=%sa" % mark), before)
        mine = bpf.of_process(group.sonde.proc.pid)
        if min(len(mine["prog"]), len(mine["map"]), len(mine["link"])) < 5:
            raise Failed("it holds %s (test's own error)" % mine)
        group.sonde.proc.kill()
        one("/get/1?t=%snobody" % mark)

        def left():
            return {k: v & bpf.ids(k) for k, v in mine.items() if v & bpf.ids(k)}
        try:
            wait_for(lambda: not left(), 2, "end")
        except TimeoutError:
            raise Failed("left behind: %s" % left())
        group.sonde = Sonde(options.sonde, ["cgroup:" + group.cgroup.path], group.work, name="sonde-again")
        before = group.before()
        group.check(mark + "b", one("/get/1?t=%sb" % mark), before)
        client.end()
        if len(group.sonde.lines) != 2:
            raise Failed("%d lines, were 2" % len(group.sonde.lines))
        return "%d programs, %d maps, %d links gone" % tuple(len(mine[k]) for k in ("prog", "map", "link"))
    finally:
        group.close()


def run_group(report, options, cells):
    group = Group(options, "command")
    try:
        for name, cell in cells["plain"]:
            report.cell(name, lambda: cell(group))
        server = group.start(Threads())
        group.start_sonde()
        for name, cell in cells["server"]:
            report.cell(name, lambda: cell(group, server))
    finally:
        group.close()


def run(report, options):
    cells = {"plain": [("version", version), ("help", help_names_all), ("check-config", check_config), ("unknown-words", unknown_words),
                       ("not-root", not_root), ("port-taken", port_taken), ("addresses", addresses), ("config-files", config_files),
                       ("outputs", outputs), ("exporters", exporters), ("surroundings", surroundings), ("doctor", doctor),
                       ("tail-user", tail_user), ("tail-stdin", tail_stdin), ("tail-signals", tail_signals), ("tail-terminal", tail_terminal)],
             "server": [("second-daemon", second_daemon), ("signals", signals), ("tail-pid", tail_pid), ("tail-command", tail_command),
                        ("tail-background", tail_background), ("tail-filters", filters)]}
    cells = {k: [("command/" + n, c) for n, c in v] for k, v in cells.items()}
    alone = [("command/output-lost", lost_output), ("command/console", console), ("command/dead-endpoint", dead_endpoint), ("command/flush", flush), ("command/reload", reload), ("command/killed", killed)]
    if report.listing:
        for n, _ in cells["plain"] + cells["server"] + alone:
            report.cell(n, None)
        return
    if options.truth_only:
        return
    if any(report.wanted(n) for v in cells.values() for n, _ in v):
        try:
            run_group(report, options, cells)
        except Exception as e:
            def fail(error=e):
                raise error
            report.cell("command/start", fail, always=True)
    for name, cell in alone:
        report.cell(name, lambda: cell(options))
