# SPDX-License-Identifier: Apache-2.0
"""
One thread, one epoll, and a handler that is busy for some time: a server that saturates.

    busy.py PORT BUSY_NS RESULT     on SIGTERM {"requests", "busy"} goes to RESULT: from each read to its write's end
"""
import json
import select
import signal
import socket
import sys
import time

now = time.monotonic_ns
BUSY = int(sys.argv[2])
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
done = {"requests": 0, "busy": 0}


def end(*_):
    with open(sys.argv[3], "w") as f:
        json.dump(done, f)
    sys.exit(0)


def serve(sock, conns, ep):
    data = sock.recv(4096)
    start = now()
    if not data:
        ep.unregister(sock)
        del conns[sock.fileno()]
        sock.close()
        return
    until = start + BUSY
    while now() < until:
        pass
    sock.send(ANSWER)
    done["requests"] += 1
    done["busy"] += now() - start


def main():
    signal.signal(signal.SIGTERM, end)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    ep = select.epoll()
    ep.register(listener, select.EPOLLIN)
    conns = {}
    while True:
        for fd, _ in ep.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                conns[sock.fileno()] = sock
                ep.register(sock, select.EPOLLIN)
            else:
                serve(conns[fd], conns, ep)


main()
