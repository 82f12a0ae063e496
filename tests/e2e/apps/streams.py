# SPDX-License-Identifier: Apache-2.0
"""
A server of long answers; a thread per connection. Each answer's end is written down with CLOCK_MONOTONIC.

    streams.py PORT|/unix.sock LOG GATE     /sse and /slow go on until GATE.N (their ?n=N) exists

/sse: chunked events, one each 20 ms · /slow: a download of 2,000,000 bytes, half before the gate, half behind
/close: as long as the connection lasts · /get: keep-alive. LOG: "TARGET BYTES END_NS" per answer
"""
import os
import re
import socket
import sys
import threading
import time

LOG = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
HALF = 1000000


def record(target, size):
    os.write(LOG, b"%s %d %d\n" % (target, size, time.monotonic_ns()))


def until_gate(target, step):
    gate = "%s.%s" % (sys.argv[3], re.search(rb"n=(\d+)", target).group(1).decode())
    while not os.path.exists(gate):
        step()
        time.sleep(0.02)


def sse(sock, target):
    event = b"data: tick\n\n"
    count = [0]

    def step():
        sock.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        count[0] += 1
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    until_gate(target, step)
    step()
    sock.sendall(b"0\r\n\r\n")
    return count[0] * len(event)


def slow(sock, target):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * HALF) + b"s" * HALF)
    until_gate(target, lambda: None)
    sock.sendall(b"t" * HALF)
    return 2 * HALF


def serve(sock):
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = sock.recv(65536)
            if not more:
                return
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        target = head.split(b" ")[1]
        what = target.split(b"?")[0]
        if what == b"/sse":
            size = sse(sock, target)
        elif what == b"/slow":
            size = slow(sock, target)
        elif what == b"/close":
            sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n")
            for _ in range(3):
                sock.sendall(b"part")
                time.sleep(0.02)
            size = 12
        else:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            size = 2
        record(target, size)
        if what == b"/close":
            return


def guard(sock):
    with sock:
        try:
            serve(sock)
        except OSError:
            pass


def main():
    if sys.argv[1].startswith("/"):
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(sys.argv[1])
        listener.listen(64)
    else:
        listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=guard, args=(sock,), daemon=True).start()


main()
