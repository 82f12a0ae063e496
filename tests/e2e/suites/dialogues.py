# SPDX-License-Identifier: Apache-2.0
"""
Traffic that is not HTTP, or stops being it. (name, calls that each role must show, script); a script
is a list of (who, bytes).
"""
import random
import struct

_random = random.Random(20)


def noise(n):
    return bytes(_random.getrandbits(8) for _ in range(n))


def record(kind, body):
    return struct.pack(">BHH", kind, 0x0301, len(body)) + body


def client_hello():
    body = struct.pack(">H", 0x0303) + noise(32) + b"\x00" + struct.pack(">H", 4) + b"\x13\x01\x13\x02" + b"\x01\x00"
    return record(22, b"\x01" + struct.pack(">I", len(body))[1:] + body)


def ws(text, mask=False):
    key = noise(4) if mask else b""
    data = bytes(b ^ key[i % 4] for i, b in enumerate(text)) if mask else text
    return bytes([0x81, (0x80 if mask else 0) | len(text)]) + key + data


def pg(kind, body):
    return kind + struct.pack(">I", len(body) + 4) + body


def mysql(seq, body):
    return struct.pack("<I", len(body))[:3] + bytes([seq]) + body


def framed(body):
    return struct.pack(">I", len(body)) + body


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

NOT_HTTP = [
    ("redis", [("c", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16\r\nGET / HTTP/1.1\r\n\r\n"), ("s", b"+OK\r\n"), ("c", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
               ("s", b"$16\r\nGET / HTTP/1.1\r\n\r\n")]),
    ("redis-inline", [("c", b"GET key\r\n"), ("s", b"$-1\r\n"), ("c", b"PUT x HTTP\r\n"), ("s", b"-ERR unknown command\r\n")]),
    ("postgresql", [("c", framed(b"")[:0] + struct.pack(">II", 24, 196608) + b"user\0postgres\0\0\0"), ("s", pg(b"R", struct.pack(">I", 0)) + pg(b"Z", b"I")),
                    ("c", pg(b"Q", b"SELECT 'GET / HTTP/1.1'\0")), ("s", pg(b"C", b"SELECT 1\0") + pg(b"Z", b"I"))]),
    ("mysql", [("s", mysql(0, b"\x0a8.0.36\0" + noise(40))), ("c", mysql(1, noise(60))), ("s", mysql(2, b"\0\0\0\2\0\0\0")),
               ("c", mysql(0, b"\x03GET / HTTP/1.1")), ("s", mysql(1, b"\xff\x28\x04#42000"))]),
    ("ssh", [("s", b"SSH-2.0-OpenSSH_9.2\r\n"), ("c", b"SSH-2.0-OpenSSH_9.2\r\n"), ("s", framed(noise(300))), ("c", framed(noise(300)))]),
    ("tls", [("c", client_hello()), ("s", record(22, b"\x02" + noise(90)) + record(23, noise(500))), ("c", record(23, noise(200))), ("s", record(23, noise(900)))]),
    ("random", [("c", noise(5000)), ("s", noise(5000)), ("c", noise(5000)), ("s", noise(5000))]),
    ("binary-with-get", [("c", framed(GET)), ("s", framed(OK)), ("c", framed(GET)), ("s", framed(OK))]),
    ("memcached", [("c", b"get foo\r\n"), ("s", b"END\r\n"), ("c", b"set foo 0 0 14\r\nGET / HTTP/1.1\r\n"), ("s", b"STORED\r\n")]),
    ("smtp", [("s", b"220 mail ESMTP\r\n"), ("c", b"EHLO x\r\n"), ("s", b"250 mail\r\n"), ("c", b"DATA\r\n"), ("s", b"354 go\r\n"),
              ("c", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n.\r\n"), ("s", b"250 ok\r\n")]),
    ("imap", [("s", b"* OK IMAP4rev1\r\n"), ("c", b"a1 SELECT INBOX\r\n"), ("s", b"* 1 EXISTS\r\na1 OK done\r\n")]),
    ("pop3", [("s", b"+OK POP3\r\n"), ("c", b"USER x\r\n"), ("s", b"+OK\r\n"), ("c", b"TOP 1 0\r\n"), ("s", b"+OK\r\nGET / HTTP/1.1\r\n.\r\n")]),
    ("ftp", [("s", b"220 FTP\r\n"), ("c", b"OPTIONS\r\n"), ("s", b"500 what\r\n"), ("c", b"DELETE /x\r\n"), ("s", b"500 what\r\n")]),
    ("rtsp", [("c", b"OPTIONS rtsp://x/s RTSP/1.0\r\nCSeq: 1\r\n\r\n"), ("s", b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"),
              ("c", b"GET_PARAMETER rtsp://x/s RTSP/1.0\r\nCSeq: 2\r\n\r\n"), ("s", b"RTSP/1.0 200 OK\r\nCSeq: 2\r\n\r\n")]),
    ("sip", [("c", b"OPTIONS sip:b@x SIP/2.0\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"), ("s", b"SIP/2.0 200 OK\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")]),
    ("icap", [("c", b"OPTIONS icap://x/a ICAP/1.0\r\nHost: x\r\n\r\n"), ("s", b"ICAP/1.0 200 OK\r\nMethods: REQMOD\r\n\r\n")]),
    ("nats", [("s", b"INFO {\"max_payload\":1048576}\r\n"), ("c", b"CONNECT {\"verbose\":false}\r\nPUB a 14\r\nGET / HTTP/1.1\r\n"), ("s", b"+OK\r\n")]),
    ("stomp", [("c", b"CONNECT\naccept-version:1.2\nhost:x\n\n\0"), ("s", b"CONNECTED\nversion:1.2\n\n\0"), ("c", b"SEND\ndestination:/q\n\nGET / HTTP/1.1\0")]),
    ("mqtt", [("c", b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04abcd"), ("s", b"\x20\x02\0\0"), ("c", b"\x30\x12\0\x01aGET / HTTP/1.1\n")]),
    ("kafka", [("c", framed(struct.pack(">hhih", 18, 3, 1, 2) + b"me" + noise(8))), ("s", framed(struct.pack(">ih", 1, 0) + noise(60))),
               ("c", framed(struct.pack(">hhih", 0, 9, 2, 2) + b"me" + GET))]),
    ("amqp", [("c", b"AMQP\0\0\x09\x01"), ("s", b"\x01\0\0\0\0\0\x10" + noise(16) + b"\xce"), ("c", b"\x01\0\0\0\0\0\x08" + noise(8) + b"\xce")]),
    ("http2-preface", [("c", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"), ("s", b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\0\x04\x01\0\0\0\0"),
                       ("c", b"\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86"), ("s", b"\0\0\x01\x01\x05\0\0\0\x01\x88")]),
    ("gopher", [("c", b"/GET / HTTP/1.1\r\n"), ("s", b"0About\t/about\tx\t70\r\n.\r\n")]),
    ("http-0.9", [("c", b"GET /\r\n"), ("s", b"<html>old</html>")]),
    ("http-9.9", [("c", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n"), ("s", b"HTTP/9.9 200 OK\r\n\r\n")]),
    ("not-answered-so", [("c", GET), ("s", b"+OK I am something else\r\n"), ("c", GET), ("s", b"+OK\r\n")]),
    ("answer-first", [("s", OK), ("c", b"what\r\n"), ("s", OK)]),
    ("irc", [("c", b"NICK x\r\nUSER x 0 * :x\r\n"), ("s", b":s 001 x :hi\r\n"), ("c", b"PRIVMSG #a :GET / HTTP/1.1\r\n")]),
    ("xmpp", [("c", b"<?xml version='1.0'?><stream:stream to='x'>"), ("s", b"<?xml version='1.0'?><stream:stream from='x'>")]),
    ("dns", [("c", struct.pack(">H", 29) + noise(29)), ("s", struct.pack(">H", 45) + noise(45))]),
    ("mongodb", [("c", struct.pack("<IIII", 16 + 26, 1, 0, 2013) + noise(26)), ("s", struct.pack("<IIII", 16 + 40, 2, 1, 2013) + noise(40))]),
    ("cassandra", [("c", b"\x04\0\0\x01\x05\0\0\0\0"), ("s", b"\x84\0\0\x01\x06\0\0\0\x04GET "), ("c", b"\x04\0\0\x02\x07\0\0\0\x12" + GET[:18])]),
    ("ldap", [("c", b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0"), ("s", b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\0\x04\0\x04\0")]),
]

# HTTP up to a point: the calls of before are right, and nothing after is one.
UPGRADED = [
    ("websocket", [("c", b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: YWJjZGVmZ2hpamtsbW5vcA==\r\n\r\n"),
                   ("s", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
                   ("c", ws(GET, True)), ("s", ws(OK)), ("c", GET), ("s", OK), ("s", GET)], ("GET", "/ws", 101)),
    ("connect", [("c", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"), ("s", b"HTTP/1.1 200 OK\r\n\r\n"), ("c", client_hello()), ("s", record(22, noise(90))),
                 ("c", GET), ("s", OK)], ("CONNECT", None, 200)),
]
