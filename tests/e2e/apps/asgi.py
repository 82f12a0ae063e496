# SPDX-License-Identifier: Apache-2.0
"""
uvicorn (asyncio, h11); see README.md for the routes. A request's start is stamped where the
protocol is handed the bytes, before h11 parses them.
"""
import asyncio
import os
import socket
import struct
import sys
import time

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

FILL = bytes(range(97, 123)) * 2521
LOG = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
now = time.monotonic_ns
protocols = {}  # client address → protocol


def fill(n):
    return (FILL * (n // len(FILL) + 1))[:n]


class Stamped(H11Protocol):
    first_ns = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        protocols[tuple(self.client or ())] = self

    def connection_lost(self, exc):
        protocols.pop(tuple(self.client or ()), None)
        super().connection_lost(exc)

    def data_received(self, data):
        if not self.first_ns:
            self.first_ns = now()
        super().data_received(data)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    protocol = protocols[tuple(scope["client"] or ())]
    start, protocol.first_ns = protocol.first_ns or now(), 0
    method = scope["method"]
    query = scope["query_string"]
    target = scope["path"].encode() + (b"?" + query if query else b"")
    part = scope["path"].split("/")
    what, arg = part[1], part[2] if len(part) > 2 else ""

    def record(status, req, resp, write=0):
        os.write(LOG, b"%s %s %d %d %d %d %d %d\n" % (method.encode(), target, status, start, now(), req, resp, write))

    async def reply(status, body, req=0):
        await send({"type": "http.response.start", "status": status,
                    "headers": [(b"content-length", b"%d" % len(body))]})
        write = now()
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})
        record(status, req, 0 if method == "HEAD" else len(body), write)

    if method == "POST":
        parts = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        body = b"".join(parts)
        await reply(200, body if what == "echo" else b"%d" % len(body), len(body))
    elif what == "get":
        await reply(200, fill(int(arg)))
    elif what == "chunked":
        n = int(arg)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for at in range(0, n, 30000):
            await send({"type": "http.response.body", "body": fill(min(30000, n - at)), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        record(200, 0, n)
    elif what == "delay":
        if int(arg):
            await asyncio.sleep(int(arg) / 1000)
        await reply(200, b"x")
    elif what == "status":
        await reply(int(arg), b"x")
    elif what == "drip":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(500):
            if protocol.transport.is_closing():
                break
            await send({"type": "http.response.body", "body": b"d" * 100, "more_body": True})
            await asyncio.sleep(0.01)
        record(200, 0, 0)
    elif what == "abort":
        if arg == "mid":
            protocol.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
            await asyncio.sleep(0.02)
        record(200 if arg == "mid" else 0, 0, 0)
        sock = protocol.transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        protocol.transport.abort()
    else:
        await reply(404, b"no")


if __name__ == "__main__":
    where = {"host": "127.0.0.1", "port": int(sys.argv[1])}
    uvicorn.run(app, http=Stamped, loop="asyncio", log_level="critical", timeout_keep_alive=60, backlog=512,
                server_header=False, date_header=False, lifespan="off", **where)
