#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
deploy/Containerfile without a registry at hand: it parses, its stages and copied files exist, the image
it makes has a fixed base, an absolute entry point, and every library that the binary was linked with.
"""
import io
import os
import re
import sys

from dockerfile_parse import DockerfileParser

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD", "LABEL", "ENV", "ARG", "COMMENT"}
# pkg-config name in the Makefile's PKGS → Debian 12's run-time package
PACKAGES = {"libbpf": "libbpf1", "libcurl": "libcurl4", "libmicrohttpd": "libmicrohttpd12", "libprotobuf-c": "libprotobuf-c1",
            "yaml-0.1": "libyaml-0-2", "libxxhash": "libxxhash0", "zlib": "zlib1g", "libelf": "libelf1"}


def main():
    with open(os.path.join(ROOT, "deploy/Containerfile"), "rb") as f:
        parser = DockerfileParser(fileobj=io.BytesIO(f.read()))
    with open(os.path.join(ROOT, "Makefile")) as f:
        wanted = re.search(r"^PKGS := (.*)$", f.read(), re.M).group(1).split()
    bad, stages, last_run, entry = [], [], "", ""
    for s in parser.structure:
        word, value = s["instruction"], s["value"]
        if word not in KNOWN:
            bad.append("line %d: unknown instruction %s" % (s["startline"] + 1, word))
        if word == "FROM":
            m = re.match(r"(\S+?):(\S+)( AS (\w+))?$", value)
            if not m or m.group(2) == "latest":
                bad.append("line %d: the base image has no fixed tag" % (s["startline"] + 1))
            stages.append(m.group(4) if m else None)
            last_run = ""
        elif word == "COPY":
            words = value.split()
            if words[0].startswith("--from="):
                if words[0][7:] not in stages:
                    bad.append("line %d: there is no stage %s" % (s["startline"] + 1, words[0][7:]))
                continue
            bad += ["line %d: there is no %s" % (s["startline"] + 1, w) for w in words[:-1]
                    if not os.path.exists(os.path.join(ROOT, w))]
        elif word == "RUN":
            last_run += value + "\n"
        elif word == "ENTRYPOINT":
            entry = value
    bad += ["the image lacks %s's library" % w for w in wanted if PACKAGES.get(w, w) not in last_run.split()]
    if not entry.startswith('["/'):
        bad.append("the entry point is not an absolute path in exec form")
    if len(stages) < 2:
        bad.append("the compiler would be in the image: there is one stage only")
    print("\n".join(bad) or "Containerfile: %d stages, %d libraries" % (len(stages), len(wanted)))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
