#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small shop: pages of its own, prices asked from its neighbour (stock.py). Knows nothing of sonde."""
import http.client
import http.server
import sys
import time

STOCK = int(sys.argv[2])


class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def price(self, item):
        c = http.client.HTTPConnection("127.0.0.1", STOCK, timeout=5)
        c.request("GET", "/items/" + item)
        r = c.getresponse()
        text = r.read().decode()
        c.close()
        return r.status, text

    def do_GET(self):
        parts = self.path.strip("/").split("/")
        if self.path == "/":
            self.answer(200, "welcome\n")
        elif parts[0] == "products" and len(parts) == 2:
            status, text = self.price(parts[1])
            self.answer(200 if status == 200 else 502, text)
        elif self.path == "/report":
            time.sleep(0.12)
            self.answer(200, "all is well\n")
        else:
            self.answer(404, "no such page\n")

    def do_POST(self):
        order = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(500 if b"fail" in order else 201, "thanks\n")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Shop).serve_forever()
