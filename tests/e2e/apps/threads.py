# SPDX-License-Identifier: Apache-2.0
"""http.server with a thread per connection; see README.md for the routes."""
import http.server
import os
import socket
import socketserver
import struct
import sys
import time

FILL = bytes(range(97, 123)) * 2521
LOG = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
now = time.monotonic_ns


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = not sys.argv[1].startswith("/")

    def parse_request(self):
        self.start_ns = now()  # the request line was just read
        return super().parse_request()

    def log_message(self, *args):
        pass

    def record(self, status, req, resp, write_ns=0):
        os.write(LOG, b"%s %s %d %d %d %d %d %d\n" % (self.command.encode(), self.path.encode("latin-1"), status,
                                                     self.start_ns, now(), req, resp, write_ns))

    def reply(self, status, body, req=0):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if self.request_version == "HTTP/1.0" and not self.close_connection:
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        write_ns = now()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.record(status, req, 0 if self.command == "HEAD" else len(body), write_ns)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def head_chunked(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if not size:
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    return b"".join(parts)
                parts.append(self.rfile.read(size))
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        body = self.body()
        if self.path.startswith("/echo"):
            self.reply(200, body, len(body))
        else:
            self.reply(200, b"%d" % len(body), len(body))

    do_PUT = do_POST

    def do_GET(self):
        part = self.path.split("?")[0].split("/")
        what, arg = part[1], part[2] if len(part) > 2 else ""
        if what == "get":
            self.reply(200, fill(int(arg)))
        elif what == "chunked":
            n = int(arg)
            self.head_chunked()
            for at in range(0, n, 30000):
                self.chunk(fill(min(30000, n - at)))
            self.wfile.write(b"0\r\n\r\n")
            self.record(200, 0, n)
        elif what == "delay":
            time.sleep(int(arg) / 1000)
            self.reply(200, b"x")
        elif what == "status":
            self.reply(int(arg), b"x")
        elif what == "drip":
            self.drip()
        elif what == "abort":
            self.abort(arg)
        else:
            self.reply(404, b"no")

    do_HEAD = do_GET

    def drip(self):
        self.head_chunked()
        try:
            for _ in range(500):
                self.chunk(b"d" * 100)
                time.sleep(0.01)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        self.record(200, 0, 0)

    def abort(self, when):
        if when == "mid":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
            time.sleep(0.02)
        self.record(200 if when == "mid" else 0, 0, 0)
        if self.disable_nagle_algorithm:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass


def fill(n):
    return (FILL * (n // len(FILL) + 1))[:n]


class Tcp(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def shutdown_request(self, request):
        self.close_request(request)  # no FIN before a reset

    def handle_error(self, request, client_address):
        pass


class Tcp6(Tcp):
    address_family = socket.AF_INET6


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 128
    daemon_threads = True

    def get_request(self):
        sock, _ = super().get_request()
        return sock, ("local", 0)

    def handle_error(self, request, client_address):
        pass


if __name__ == "__main__":
    if sys.argv[1].startswith("/"):
        server = Unix(sys.argv[1], Handler)
    else:
        host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
        server = (Tcp6 if ":" in host else Tcp)((host, int(sys.argv[1])), Handler)
    server.serve_forever()
