# SPDX-License-Identifier: Apache-2.0
"""
A scan: 100,000 different URLs, pipelined, as fast as they are answered; the answers must be 204, each.

  python3 scan.py PORT DEPTH SHAPE      "words": five segments of ten words each; "tokens": one segment

Prints how many were answered.
"""
import socket
import sys

COUNT = 100000
WORDS = ["alpha", "bravo", "carol", "delta", "early", "fruit", "green", "house", "input", "judge"]


def words(n):
    return "/" + "/".join(WORDS[n // 10 ** i % 10] + "-abcde"[i + 1] for i in range(5))


def letters(n):
    return "".join("bcdfghjklm"[int(d)] + "aeiou"[int(d) % 5] for d in "%05d" % n)


def tokens(n):
    return "/" + letters(n)


def main():
    port, depth, shape = int(sys.argv[1]), int(sys.argv[2]), {"words": words, "tokens": tokens}[sys.argv[3]]
    paths = [shape(n) for n in range(COUNT)]
    assert len(set(paths)) == COUNT
    answered = 0
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, COUNT, depth):
            batch = paths[at:at + depth]
            s.sendall("".join("GET %s HTTP/1.1\r\nHost: scanned\r\n\r\n" % p for p in batch).encode())
            data = b""
            while data.count(b"\r\n\r\n") < len(batch):
                more = s.recv(262144)
                if not more:
                    raise SystemExit("closed after %d answers" % answered)
                data += more
            if data.count(b"HTTP/1.1 204 ") != len(batch) or not data.endswith(b"\r\n\r\n"):
                raise SystemExit("not 204 each: %r" % data[:200])
            answered += len(batch)
    print(answered)


main()
