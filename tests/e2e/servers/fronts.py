# SPDX-License-Identifier: Apache-2.0
"""
Servers that are configured, not programmed: files of their own, everything else from the server
behind them, for which they are a client. Their access logs are the truth; clocks of milliseconds.
"""
import os
import re

from lib.proc import which

from .base import ALL, Logged, Server

STATIC = ("1", "2", "100000", "1000000", "10000000")
PROXIED = ("/chunked", "/echo", "/sink", "/delay", "/status", "/drip", "/abort")
_LINE = re.compile(r'LOG (\S+) (\S+) (?:HTTP/\S+ )?(-?\d+) (\S+)')


class Front(Server):
    proxied = PROXIED
    resolution = 0.001
    binary = "?"
    package = "?"
    # the server behind goes away in these, and the front makes an answer of its own
    features = ALL | {"sendfile"}

    def unavailable(self):
        if not which(self.binary):
            return "%s is not installed" % self.package
        return self.back.unavailable() if self.back else None

    def build(self):
        if self.back:
            self.back.build()

    def files(self, work):
        """SIZE bytes at /get/SIZE, for the few sizes there are; readable by whom the server becomes."""
        folder = os.path.join(work, "www", "get")
        os.makedirs(folder, exist_ok=True)
        for size in STATIC:
            with open(os.path.join(folder, size), "wb") as f:
                f.write((b"abcdefghijklmnopqrstuvwxyz" * (int(size) // 26 + 1))[:int(size)])
        return os.path.join(work, "www")

    def write(self, work, name, text):
        path = os.path.join(work, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def parse(self, line):
        m = _LINE.search(line)
        if not m:
            return None
        status = int(m.group(3))
        return Logged(m.group(1), m.group(2), max(status, 0), self.seconds(m.group(4)))

    def seconds(self, text):
        return float(text)


class Nginx(Front):
    name = "nginx"
    binary = "nginx"
    package = "nginx-light"

    def argv(self, work):
        listen = "unix:" + self.unix if self.unix else "[%s]:%d" % (self.host, self.port) if ":" in self.host else "%s:%d" % (self.host, self.port)
        back = "127.0.0.1:%d" % self.back.port if self.back else "127.0.0.1:1"
        conf = """
            user nobody nogroup;
            daemon off;
            worker_processes 1;
            error_log {work}/error.log;
            pid {work}/pid;
            events {{ worker_connections 1024; }}
            http {{
                log_format truth 'LOG $request_method $request_uri $status $request_time';
                access_log {log} truth;
                sendfile on;
                tcp_nopush on;
                keepalive_requests 1000000;
                client_max_body_size 100m;
                client_body_temp_path {work}/body;
                proxy_temp_path {work}/proxy;
                fastcgi_temp_path {work}/fcgi;
                uwsgi_temp_path {work}/uwsgi;
                scgi_temp_path {work}/scgi;
                upstream back {{ server {back}; keepalive 16; }}
                server {{
                    listen {listen} backlog=511;
                    location /get/ {{ root {www}; }}
                    location / {{ proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ''; }}
                }}
            }}""".format(work=work, log=self.log_path, listen=listen, back=back, www=self.files(work))
        return [which("nginx"), "-e", work + "/error.log", "-p", work, "-c", self.write(work, "nginx.conf", conf)]


class Apache(Front):
    name = "apache"
    resolution = 1e-6
    binary = "apache2"
    package = "apache2-bin"

    def argv(self, work):
        modules = "/usr/lib/apache2/modules/mod_%s.so"
        load = "".join("LoadModule %s_module %s\n" % (m, modules % m)
                       for m in ("mpm_event", "authz_core", "proxy", "proxy_http", "reqtimeout"))
        conf = load + """
            ServerName test
            ServerRoot {work}
            User nobody
            Group nogroup
            PidFile {work}/pid
            Listen 127.0.0.1:{port}
            ErrorLog {work}/error.log
            LogFormat "LOG %m %U%q %>s %D" truth
            CustomLog {log} truth
            DocumentRoot {www}
            <Directory {www}>
                Require all granted
            </Directory>
            EnableSendfile On
            KeepAlive On
            MaxKeepAliveRequests 0
            KeepAliveTimeout 60
            StartServers 1
            ServerLimit 2
            ThreadsPerChild 64
            MaxRequestWorkers 128
            MinSpareThreads 1
            MaxSpareThreads 128
            {proxy}
            """.format(work=work, port=self.port, log=self.log_path, www=self.files(work),
                       proxy="\n".join("ProxyPass %s http://127.0.0.1:%d%s" % (p, self.back.port, p) for p in PROXIED))
        return [which("apache2"), "-D", "FOREGROUND", "-f", self.write(work, "apache.conf", conf)]

    def seconds(self, text):
        return float(text) / 1e6


class Lighttpd(Front):
    name = "lighttpd"
    resolution = 1e-6
    binary = "lighttpd"
    package = "lighttpd"
    unreadable = {"chunked": "passes chunk framing on by sendfile, from a temporary file: no hook sees those bytes"}

    def argv(self, work):
        conf = """
            server.modules = ("mod_accesslog", "mod_proxy")
            server.document-root = "{www}"
            server.bind = "127.0.0.1"
            server.port = {port}
            server.username = "nobody"
            server.groupname = "nogroup"
            server.errorlog = "{work}/error.log"
            server.upload-dirs = ("{work}")
            server.network-backend = "sendfile"
            server.max-keep-alive-requests = 1000000
            server.max-keep-alive-idle = 60
            server.max-request-size = 100000
            server.stream-response-body = 1
            accesslog.filename = "|exec cat >>{log}"
            accesslog.format = "LOG %r %>s %D"
            mimetype.assign = ("" => "application/octet-stream")
            {proxy}
            """.format(work=work, port=self.port, log=self.log_path, www=self.files(work),
                       proxy='$HTTP["url"] =~ "^(%s)" { proxy.server = ("" => (("host" => "127.0.0.1", "port" => %d))) }'
                       % ("|".join(PROXIED), self.back.port))
        return [which("lighttpd"), "-D", "-f", self.write(work, "lighttpd.conf", conf)]

    def seconds(self, text):
        return float(text) / 1e6


class Haproxy(Front):
    name = "haproxy"
    binary = "haproxy"
    package = "haproxy"
    proxied = ("/",)
    features = ALL
    unsent = (0, 499, -1)

    def argv(self, work):
        conf = """
            global
                log stdout format raw local0
                maxconn 1000
                nbthread 1
            defaults
                mode http
                log global
                timeout connect 5s
                timeout client 60s
                timeout server 60s
                option http-keep-alive
            frontend front
                bind 127.0.0.1:{port}
                log-format "LOG %HM %[capture.req.uri] %ST %Ta"
                default_backend back
            backend back
                retries 0
                server one 127.0.0.1:{back}
            """.format(port=self.port, back=self.back.port)
        conf = "\n".join(x[12:] for x in conf.split("\n"))
        self.log_path = os.path.join(work, "haproxy.out")
        return [which("haproxy"), "-db", "-f", self.write(work, "haproxy.cfg", conf)]

    def seconds(self, text):
        return float(text) / 1e3
