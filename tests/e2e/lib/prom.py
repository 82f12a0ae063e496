# SPDX-License-Identifier: Apache-2.0
"""Prometheus text format 0.0.4, strictly: a line that is not of the format is an error."""
import re
import urllib.request

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)(?: (-?\d+))?$', re.S)
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
_ESCAPE = {'\\\\': '\\', '\\"': '"', '\\n': '\n'}


class Sample:
    __slots__ = ("name", "labels", "value")

    def __init__(self, name, labels, value):
        self.name, self.labels, self.value = name, labels, value

    def __repr__(self):
        return "%s%r %g" % (self.name, self.labels, self.value)


def parse(text):
    samples = []
    for n, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        m = _SAMPLE.match(line)
        if not m:
            raise ValueError("exposition, line %d: %r" % (n, line))
        labels, rest = {}, m.group(2) or ""
        while rest:
            label = _LABEL.match(rest)
            if not label:
                raise ValueError("exposition, line %d, labels: %r" % (n, line))
            labels[label.group(1)] = re.sub(r'\\["\\n]', lambda e: _ESCAPE[e.group(0)], label.group(2))
            rest = rest[label.end():]
        samples.append(Sample(m.group(1), labels, float(m.group(3))))
    return samples


class Scrape:
    def __init__(self, text):
        self.text = text
        self.samples = parse(text)
        self.by_name = {}
        for s in self.samples:
            self.by_name.setdefault(s.name, []).append(s)

    def get(self, name, **labels):
        return [s for s in self.by_name.get(name, []) if all(s.labels.get(k, "") == v for k, v in labels.items())]

    def sum(self, name, **labels):
        return sum(s.value for s in self.get(name, **labels))

    def sums(self, name, *by):
        """{(label values): sum}"""
        ret = {}
        for s in self.by_name.get(name, []):
            key = tuple(s.labels.get(k, "") for k in by)
            ret[key] = ret.get(key, 0) + s.value
        return ret


def fetch(url, headers=None, timeout=10):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers or {}), timeout=timeout) as r:
        return r.read().decode("utf-8")
