# SPDX-License-Identifier: Apache-2.0
"""
A client that does one step when told to and keeps its connection open meanwhile. Run inside the test's cgroup.

    steps.py PORT|/unix.sock      lines on standard input; each is answered by one line, "ok NUMBER" or "error TEXT"
      send TARGET    a request's head           head        reads up to the end of the answer's head
      read N         N bytes of the body        chunks      a chunked body to its end: its size
      rest           to the end of file: bytes  close       closes; the program goes on
"""
import socket
import sys


class Client:
    def __init__(self, where):
        unix = where.startswith("/")
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        self.sock.settimeout(15)
        self.sock.connect(where if unix else ("127.0.0.1", int(where)))
        self.buf = b""

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise OSError("the server closed")
        self.buf += data

    def until(self, mark):
        while mark not in self.buf:
            self.more()
        head, self.buf = self.buf.split(mark, 1)
        return head

    def take(self, n):
        while len(self.buf) < n:
            self.more()
        self.buf = self.buf[n:]

    def send(self, target):
        self.sock.sendall(b"GET %s HTTP/1.1\r\nHost: steps\r\n\r\n" % target.encode())
        return 0

    def head(self):
        return int(self.until(b"\r\n\r\n").split(b" ")[1])

    def read(self, n):
        self.take(int(n))
        return int(n)

    def chunks(self):
        total = 0
        while True:
            size = int(self.until(b"\r\n"), 16)
            self.take(size + 2)
            total += size
            if not size:
                return total

    def rest(self):
        while True:
            data = self.sock.recv(65536)
            if not data:
                n, self.buf = len(self.buf), b""
                return n
            self.buf += data

    def close(self):
        self.sock.close()
        return 0


def main():
    client = Client(sys.argv[1])
    print("ok 0", flush=True)
    for line in sys.stdin:
        words = line.split()
        try:
            print("ok %d" % getattr(client, words[0])(*words[1:]), flush=True)
        except OSError as e:
            print("error %s" % e, flush=True)


main()
