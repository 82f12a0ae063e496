# SPDX-License-Identifier: Apache-2.0
"""
Clients that send most of a request's head and no more. Run inside the test's cgroup.

    slow.py PORT N SIZE      N connections, SIZE bytes of a head on each; then lines on standard input,
                             each answered by one line, "ok NUMBER"
      finish    every second connection sends the rest and reads its answer: how many were answered 200
      close     all are closed: how many
"""
import resource
import socket
import sys
import time


def opened(port, n, size):
    socks = []
    for i in range(n):
        s = socket.create_connection(("127.0.0.1", port), timeout=30)
        head = b"GET /slow/%d HTTP/1.1\r\nHost: slow\r\nX-Slow: " % i
        s.sendall(head)
        rest = b"s" * (size - len(head))
        for at in range(0, len(rest), 10000):
            s.sendall(rest[at:at + 10000])
        socks.append(s)
        time.sleep(0.005)  # slow, not a flood
    return socks


def finish(s):
    s.sendall(b"\r\n\r\n")
    got = b""
    while not got.endswith(b"\r\n\r\nx"):
        more = s.recv(65536)
        if not more:
            return False
        got += more
    return got.startswith(b"HTTP/1.1 200 ")


def main():
    port, n, size = (int(a) for a in sys.argv[1:4])
    resource.setrlimit(resource.RLIMIT_NOFILE, (n + 100, max(n + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    socks = opened(port, n, size)
    print("ok %d" % len(socks), flush=True)
    for line in sys.stdin:
        if line == "finish\n":
            print("ok %d" % sum(finish(s) for s in socks[::2]), flush=True)
        elif line == "close\n":
            for s in socks:
                s.close()
            print("ok %d" % len(socks), flush=True)


main()
