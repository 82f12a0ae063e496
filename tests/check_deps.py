#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Which way includes may point, and who may name a protocol. The rules are docs/architecture.md's; a file
that no rule knows is an error, so that a new folder gets its rule on the day it is made.
"""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASE = ("user/base/",)
MODEL = BASE + ("user/model/", "bpf/shared/")
SETTINGS = ("user/config.h", "user/options.h")
ROOM = MODEL + SETTINGS
BPF = ("vmlinux/", "bpf/shared/")

# First rule that fits the including file: (its path, what it may include beside its own room's folder).
RULES = [
    (r"bpf/shared/", ()),
    (r"bpf/maps\.h", BPF + ("bpf/proto/proto.h",)),
    (r"bpf/lib/", BPF + ("bpf/lib/", "bpf/maps.h", "bpf/proto/proto.h")),
    (r"bpf/(hook|runtime)/", BPF + ("bpf/lib/", "bpf/maps.h")),
    (r"bpf/proto/proto\.h", BPF + ("tests/shim/shim.h",)),
    (r"bpf/proto/", BPF[1:] + ("bpf/proto/proto.h", "bpf/lib/conn.h")),
    (r"bpf/[^/]+\.bpf\.c", BPF + ("bpf/lib/", "bpf/maps.h", "bpf/proto/proto.h")),
    (r"vmlinux/", ("vmlinux/",)),
    (r"user/base/", BASE),
    (r"user/model/", MODEL),
    (r"user/proto/", ROOM + ("user/proto/proto.h",)),
    (r"user/runtime/", ROOM + ("user/runtime/runtime.h", "user/runtime/list.h")),
    (r"user/enrich/", ROOM),
    # protocols as data: which metrics and labels there are
    (r"user/(metrics|traces)/", ROOM + ("user/proto/proto.h",)),
    (r"user/(config[^/]*|options)\.[ch]", BASE + ("user/config", "user/options.h")),
    (r"user/[^/]+\.[ch]", ("user/", "bpf/shared/", "exporters/", "sonde.skel.h")),
    (r"exporters/", ROOM + ("user/proto/proto.h", "exporters/exporter.h", "exporters/list.h", "exporters/wire/")),
    (r"tests/", ("",)),
]
# Rooms whose files include each other; elsewhere a file includes only its own header.
TOGETHER = re.compile(r"(user/(base|model|enrich|metrics|traces)|exporters/wire|vmlinux|tests)/")
# Libraries and the only rooms that may know them.
LIBRARIES = [
    (r"bpf/", r"bpf/|user/(load|procmap|lockdown|features|doctor)\.c|tests/|vmlinux/"),
    (r"curl/", r"exporters/|user/main\.c|tests/"),
    (r"microhttpd", r"exporters/|tests/"),
    (r"yaml", r"user/config[^/]*\.c|tests/"),
    (r"protobuf-c", r"exporters/|tests/"),
    (r"zlib", r"exporters/|tests/"),
    (r"xxhash", r"user/|tests/"),
    (r"(libelf|gelf|elfutils)", r"user/(runtime|enrich)/|tests/"),
    (r"cmocka", r"tests/"),
]
# Who may name a protocol that is observed. Words for people are not decisions.
NAMERS = re.compile(r"user/proto/|bpf/proto/|bpf/shared/protocols\.h|tests/|docs/|deploy/|vmlinux/")
# Who carries telemetry over a protocol that is also observed.
CARRIERS = re.compile(r"exporters/")
WORDS_FOR_PEOPLE = [
    ("user/main.c", r"sees every HTTP request"),
    ("user/doctor.c", r"plain HTTP/1 is read"),
]
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def sources():
    for top in ("bpf", "user", "exporters", "tests", "vmlinux"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for n in sorted(names):
                path = os.path.relpath(os.path.join(folder, n), ROOT)
                if n.endswith((".c", ".h")) and not re.match(r"vmlinux/[^/]+/", path) and "/node_modules/" not in path:
                    yield path


def target_of(path, name):
    """Root-relative; generated files keep their name."""
    return name if os.path.exists(os.path.join(ROOT, name)) or "/" in name else os.path.join(os.path.dirname(path), name)


def may_include(path, name, allowed):
    if name.startswith(tuple(a for a in allowed)) if allowed else False:
        return True
    folder = os.path.dirname(path) + "/"
    if TOGETHER.match(path):
        return name.startswith(folder)
    # x.c and its parts (x_part.c) share x.h and x_internal.h
    stem = re.match(r"[a-z0-9]+", os.path.basename(path)).group(0)
    return name.startswith(folder + stem)


def check_includes(path, text):
    rule = next((r for r in RULES if re.match(r[0], path)), None)
    if not rule:
        yield 1, "no rule says what files here may include: add one to tests/check_deps.py and docs/architecture.md"
        return
    for m in INCLUDE.finditer(text):
        line = text.count("\n", 0, m.start(2)) + 1
        if m.group(1) == "<":
            lib = next((l for l in LIBRARIES if re.match(l[0], m.group(2))), None)
            if lib and not re.match(lib[1], path):
                yield line, "<%s> belongs to %s" % (m.group(2), lib[1].replace("|tests/", ""))
            continue
        name = m.group(2) if m.group(2) == "sonde.skel.h" else target_of(path, m.group(2))
        if name != "sonde.skel.h" and "/" not in m.group(2):
            yield line, '"%s" is not root-relative' % m.group(2)
        if not may_include(path, name, rule[1]):
            yield line, '"%s" may not be included here' % m.group(2)


def protocol_pattern():
    with open(os.path.join(ROOT, "bpf/shared/protocols.h")) as f:
        rows = re.findall(r"X\(([A-Z0-9_]+), ([a-z0-9_]+)\)", COMMENT.sub("", f.read()))
    words = []
    for ident, name in rows:
        family = name.rstrip("0123456789_")
        version = name[len(family):].strip("_")
        words += [r"\bPROTO_%s\b" % ident, r"\b%s_?\w*" % name if version else r"\bproto_%s\b" % name,
                  r"\b%s[._](server|client|request|response|route)\b" % family, r'"%s"' % family]
        if version:
            words.append(r"\b%s/%s\b" % (family, version))
    return re.compile("|".join(words), re.I)


def check_names(path, text, pattern):
    if NAMERS.match(path):
        return
    code = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
    for n, line in enumerate(code.split("\n"), 1):
        m = pattern.search(line)
        if m and m.group(0)[0] == '"' and CARRIERS.match(path):
            continue
        if m and not any(path == p and re.search(w, line) for p, w in WORDS_FOR_PEOPLE):
            yield n, 'names a protocol ("%s"): only the proto folders do' % m.group(0)


def main():
    pattern, bad, files = protocol_pattern(), 0, 0
    for path in sources():
        with open(os.path.join(ROOT, path), encoding="utf-8") as f:
            text = f.read()
        files += 1
        for line, what in list(check_includes(path, text)) + list(check_names(path, text, pattern)):
            print("%s:%d: %s" % (path, line, what))
            bad += 1
    print("check-deps: %d files, %d wrong" % (files, bad))
    print("%d passed, %d failed, 0 skipped" % (bad == 0, bad != 0))
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
