#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Links between the documents, and the files and functions that they name, exist."""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:bpf|user|exporters|tests|deploy|docs|vmlinux)/[\w./{},*-]*)`")
FUNCTION = re.compile(r"`(\w+)\(\)`")
# what a newcomer would make
EXAMPLES = re.compile(r"(^|/)(test_)?(x|redis)\.|bpf/runtime|redis|^x_")


def anchors(text):
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}


def expand(name):
    m = re.match(r"(.*)\{(.*)\}(.*)", name)
    return [m.group(1) + w + m.group(3) for w in m.group(2).split(",")] if m else [name]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def check(path, code):
    text = read(path)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
        if not os.path.exists(full):
            yield "there is no %s" % target
        elif anchor and anchor not in anchors(read(full)):
            yield "%s has no heading for #%s" % (name or "it", anchor)
    for name in NAMED.findall(prose):
        if not EXAMPLES.search(name):
            for n in expand(name):
                if not glob.glob(os.path.join(ROOT, n)):
                    yield "there is no file %s" % n
    for name in FUNCTION.findall(prose):
        if not EXAMPLES.search(name) and not re.search(r"\b%s\b" % name, code):
            yield "there is no %s()" % name


def main():
    code = "".join(read(f) for top in ("bpf", "user", "exporters", "tests") for f in
                   glob.glob(os.path.join(ROOT, top, "**", "*.[ch]"), recursive=True))
    bad = ["%s: %s" % (os.path.relpath(p, ROOT), what)
           for p in sorted(glob.glob(ROOT + "/*.md") + glob.glob(ROOT + "/docs/*.md") + glob.glob(ROOT + "/tests/*/*.md"))
           for what in check(p, code)]
    print("\n".join(bad))
    print("%d passed, %d failed, 0 skipped" % (not bad, bool(bad)))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
