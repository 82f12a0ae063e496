# SPDX-License-Identifier: Apache-2.0
"""
An HTTP/1.1 client on a bare socket that does exactly what its plan says and stamps each request
with CLOCK_MONOTONIC. Run inside the test's cgroup:  python3 raw.py plan.json result.json

The plan: {"target": ["127.0.0.1", 80] or "/unix.sock", "conns": [CONN...], "rate": per second or 0,
"threads": N, "cpu": N}; with "gate": a path, connections stop after their first request, the file GATE.ready
is made, and all go on once GATE.go is there. CONN: {"requests": [REQ...], "pipeline": depth,
"split": bytes per write}. REQ: {"m": method, "t": target, "h": {header: value}, "body": bytes,
"chunked": bool, "expect": bool, "abort": "sent" | "head" | "after", "wait": seconds, "n": repeat,
"raw": latin-1 text of the whole head, "version": "1.0"}; "{n}" in a target becomes the number
of the repetition.

The result: [[method, target, status or null, error or null, start, end, request body,
response body, connection, sent, port, switches]...], times in ns; `sent` is when the last write of the request's
head had returned, the port is the socket's own (0: unix), switches is how often the kernel took the CPU away from the last read on.
"""
import collections
import json
import os
import resource
import socket
import sys
import threading
import time

now = time.monotonic_ns
FILL = bytes(range(97, 123)) * 2521  # 65,546 bytes


def taken_away():
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def fill(n):
    return (FILL * (n // len(FILL) + 1))[:n]


class Closed(Exception):
    pass


class Reader:
    def __init__(self, sock):
        self.sock, self.buf, self.last, self.switches = sock, b"", 0, 0

    def more(self):
        self.switches = taken_away()
        data = self.sock.recv(262144)
        self.last = now()
        if not data:
            raise Closed("closed")
        return data

    def until(self, mark):
        while True:
            at = self.buf.find(mark)
            if at >= 0:
                head, self.buf = self.buf[:at + len(mark)], self.buf[at + len(mark):]
                return head
            self.buf += self.more()

    def skip(self, n):
        done = min(n, len(self.buf))
        self.buf = self.buf[done:]
        while done < n:
            data = self.more()
            take = min(len(data), n - done)
            self.buf = data[take:]
            done += take

    def to_end(self):
        n = len(self.buf)
        self.buf = b""
        while True:
            try:
                n += len(self.more())
            except Closed:
                return n


def read_head(r):
    lines = r.until(b"\r\n\r\n").split(b"\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().lower()
    return int(lines[0].split(b" ", 2)[1]), headers


def read_body(r, method, status, headers):
    """Bytes of the body, and whether the connection ends with it."""
    if method == "HEAD" or status in (204, 304) or 100 <= status < 200:
        return 0, False
    if headers.get(b"transfer-encoding") == b"chunked":
        total = 0
        while True:
            size = int(r.until(b"\r\n").split(b";")[0], 16)
            if not size:
                while r.until(b"\r\n") != b"\r\n":
                    pass
                return total, False
            r.skip(size + 2)
            total += size
    if b"content-length" in headers:
        n = int(headers[b"content-length"])
        r.skip(n)
        return n, False
    return r.to_end(), True


class Pacer:
    """Slots of a common rate; a late request does not shift the later ones."""

    def __init__(self, rate):
        self.step = int(1e9 / rate) if rate else 0
        self.next = 0
        self.lock = threading.Lock()

    def wait(self):
        if not self.step:
            return
        with self.lock:
            slot = self.next = max(self.next + self.step, now() - 50 * self.step)
        ahead = slot - now()
        if ahead > 0:
            time.sleep(ahead / 1e9)


class Connection:
    def __init__(self, target, plan, number, pacer, out):
        self.target, self.plan, self.number, self.pacer, self.out = target, plan, number, pacer, out
        self.requests = collections.deque(expand(plan["requests"]))
        self.sock, self.port = None, 0

    def connect(self):
        if isinstance(self.target, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(self.target)
        else:
            self.sock = socket.create_connection(tuple(self.target))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(60)
        self.port = 0 if isinstance(self.target, str) else self.sock.getsockname()[1]
        self.reader = Reader(self.sock)

    def send(self, data):
        step = self.plan.get("split")
        if not step:
            self.sock.sendall(data)
            return
        for i in range(0, len(data), step):
            self.sock.sendall(data[i:i + step])

    def head_of(self, q):
        if "raw" in q:
            return q["raw"].encode("latin-1")
        version = q.get("version", "1.1")
        lines = ["%s %s HTTP/%s" % (q["m"], q["t"], version), "Host: test"]
        lines += ["%s: %s" % kv for kv in q.get("h", {}).items()]
        if q.get("chunked"):
            lines.append("Transfer-Encoding: chunked")
        elif "body" in q:
            lines.append("Content-Length: %d" % q["body"])
        if q.get("expect"):
            lines.append("Expect: 100-continue")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send_body(self, q):
        n = q["body"]
        if not q.get("chunked"):
            self.send(fill(n))
            return
        for at in range(0, n, 40000):
            piece = fill(min(40000, n - at))
            self.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        self.send(b"0\r\n\r\n")

    def write(self, q):
        """Sends the request; what it waited for (a final answer instead of 100) comes back."""
        early = None
        head = self.head_of(q)
        q["start"] = now()
        if q.get("body") and not q.get("chunked") and not q.get("expect") and q["body"] < 16384:
            self.send(head + fill(q["body"]))
            q["sent"] = now()
            return None
        self.send(head)
        q["sent"] = now()
        if q.get("expect"):
            status, headers = read_head(self.reader)
            if status != 100:
                return status, headers
        if "body" in q:
            self.send_body(q)
        return early

    def answer(self, q, early):
        status, headers = early or read_head(self.reader)
        while 100 <= status < 200 and status != 101:
            status, headers = read_head(self.reader)
        if q.get("abort") == "head":
            self.finish(q, status, "aborted", 0)
            raise Closed("abort")
        try:
            size, ends = read_body(self.reader, q["m"], status, headers)
        except (OSError, Closed, ValueError) as e:
            self.finish(q, status, "cut: %s" % e, 0)
            raise Closed("cut")
        self.finish(q, status, None, size)
        asked = q.get("h", {}).get("Connection") == "close"
        return ends or asked or headers.get(b"connection") == b"close" or (q.get("version") == "1.0" and
                                                                   headers.get(b"connection") != b"keep-alive")

    def finish(self, q, status, error, size):
        body = q.get("body", 0)
        end = self.reader.last or now()
        self.out.append([q["m"], q["t"], status, error, q["start"], end, body, size, self.number, q.get("sent", end), self.port, taken_away() - self.reader.switches])

    def one(self, q):
        self.pacer.wait()
        if self.sock is None:
            self.connect()
        self.reader.last = 0
        early = self.write(q)
        if q.get("abort") == "sent":
            time.sleep(q.get("wait", 0))
            self.finish(q, None, "aborted", 0)
            raise Closed("abort")
        if self.answer(q, early):
            raise Closed("done")

    def pipelined(self, depth):
        if self.sock is None:
            self.connect()
        batch = [self.requests.popleft() for _ in range(min(depth, len(self.requests)))]
        data = b""
        for q in batch:
            q["start"] = now()
            data += self.head_of(q) + fill(q.get("body", 0))
        self.send(data)
        sent = now()
        for i, q in enumerate(batch):
            q["sent"] = sent
            if self.answer(q, None):
                self.requests.extendleft(reversed(batch[i + 1:]))
                raise Closed("done")

    def drop(self):
        if self.sock:
            self.sock.close()
            self.sock = None

    def run(self, limit=None):
        depth = self.plan.get("pipeline", 0)
        done = 0
        while self.requests and (limit is None or done < limit):
            q = None
            try:
                if depth:
                    self.pipelined(depth)
                else:
                    q = self.requests.popleft()
                    self.one(q)
            except Closed as e:
                if str(e) == "closed":  # by the peer, before an answer's head
                    self.finish(q, None, "closed", 0)
                self.drop()
            except OSError as e:
                if q is None or "start" not in q:
                    raise
                self.finish(q, None, "reset" if isinstance(e, (ConnectionResetError, BrokenPipeError)) else str(e), 0)
                self.drop()
            done += 1
        if not self.requests:
            self.drop()


def expand(requests):
    for q in requests:
        for n in range(q.get("n", 1)):
            one = dict(q)
            for key in ("t", "raw"):
                if key in one:
                    one[key] = one[key].replace("{n}", str(n))
            yield one


def in_threads(jobs):
    failed = []

    def guard(job):
        try:
            job()
        except BaseException as e:  # reported by the main thread
            failed.append(e)
    threads = [threading.Thread(target=guard, args=(j,)) for j in jobs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failed:
        raise failed[0]


def main():
    with open(sys.argv[1]) as f:
        plan = json.load(f)
    if "cpu" in plan:
        os.sched_setaffinity(0, {plan["cpu"]})
    out = []
    pacer = Pacer(plan.get("rate", 0))
    todo = collections.deque(Connection(plan["target"], c, i, pacer, out) for i, c in enumerate(plan["conns"]))

    def worker():
        while True:
            try:
                c = todo.popleft()
            except IndexError:
                return
            c.run()
    gate = plan.get("gate")
    if gate:
        for c in todo:
            c.run(1)
        open(gate + ".ready", "w").close()
        while not os.path.exists(gate + ".go"):
            time.sleep(0.005)
    in_threads([worker] * min(plan.get("threads", 1), len(todo)))
    with open(sys.argv[2], "w") as f:
        json.dump(out, f)


main()
