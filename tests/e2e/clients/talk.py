# SPDX-License-Identifier: Apache-2.0
"""
Plays dialogues between a client and a server thread over TCP, byte for byte. Run in the test's
cgroup:  python3 talk.py dialogues.json ports.json

dialogues: [{"name": …, "script": [["c" or "s", text], …]}], text in latin-1: each end sends its parts, the
other reads exactly as many bytes. ports: {name: port of the server}.
"""
import json
import socket
import sys
import threading


def read(sock, n):
    while n:
        data = sock.recv(min(n, 65536))
        if not data:
            raise RuntimeError("ended early")
        n -= len(data)


def play(sock, me, script):
    for who, text in script:
        data = text.encode("latin-1")
        if who == me:
            sock.sendall(data)
        else:
            read(sock, len(data))


def run(dialogue):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve():
            conn, _ = listener.accept()
            with conn:
                play(conn, "s", dialogue["script"])
        t = threading.Thread(target=serve)
        t.start()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            play(sock, "c", dialogue["script"])
        t.join()
    return port


with open(sys.argv[1]) as f:
    dialogues = json.load(f)
ports = {d["name"]: run(d) for d in dialogues}
with open(sys.argv[2], "w") as f:
    json.dump(ports, f)
