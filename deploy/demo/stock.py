#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is in stock: asked by shop.py. Knows nothing of sonde."""
import http.server
import sys
import time


class Stock(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        item = int(self.path.rsplit("/", 1)[1])
        time.sleep(0.002 + item % 7 * 0.001)
        self.send_response(503 if item % 40 == 13 else 200)
        self.end_headers()
        self.wfile.write(b"42 left\n")

    def log_message(self, *args):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Stock).serve_forever()
