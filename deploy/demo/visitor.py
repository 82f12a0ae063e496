#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody in the shop, a few requests a second until SIGTERM; then says how many. Knows nothing of sonde."""
import http.client
import random
import signal
import sys
import time

going = True


def stop(*_):
    global going
    going = False


signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.SIG_IGN)
made = 0
while going:
    c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    for _ in range(random.randint(1, 6)):
        n = random.randint(1, 400)
        method, path, body = random.choice([("GET", "/", None), ("GET", "/products/%d" % n, None), ("GET", "/products/%d" % n, None),
                                            ("POST", "/orders", b"fail" if n % 9 == 0 else b"item=%d" % n),
                                            ("GET", "/report", None), ("GET", "/favicon.ico", None)])
        try:
            c.request(method, path, body)
            made += 1
            c.getresponse().read()
        except OSError:
            going = False  # the shop closes at the same time: what was asked was asked
        time.sleep(random.uniform(0.05, 0.4))
        if not going:
            break
    c.close()
with open(sys.argv[2], "w") as f:
    f.write("%d\n" % made)
