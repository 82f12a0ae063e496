#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What building and testing sonde needs. Says nothing when all is there. On Debian and Ubuntu the rest is
# installed (as root), elsewhere it is listed: a package's name there may differ a little.
#
#   deploy/deps.sh          install what is missing
#   deploy/deps.sh --list   only say what is missing; exit 1 when something is
set -u
PATH=$PATH:/usr/sbin:/sbin
export PATH

missing=
need() { # PACKAGE PROBE...
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
lib() { pkg-config --exists "$1"; }
a_bpftool() {
	for b in bpftool /usr/lib/linux-tools/*/bpftool; do
		"$b" version && return
	done
	return 1
}

need make has make
need gcc has gcc
need libc6-dev test -e /usr/include/stdio.h
need clang has clang
need llvm has llvm-strip
need bpftool a_bpftool
need pkg-config has pkg-config
need protobuf-c-compiler has protoc-c
need python3 has python3
need python3-venv python3 -c "import ensurepip"
need libbpf-dev lib libbpf
need libelf-dev lib libelf
need zlib1g-dev lib zlib
need libprotobuf-c-dev lib libprotobuf-c
need libcurl4-openssl-dev lib libcurl
need libmicrohttpd-dev lib libmicrohttpd
need libyaml-dev lib yaml-0.1
need libxxhash-dev lib libxxhash
need libcmocka-dev lib cmocka

[ -n "$missing" ] || exit 0
if [ "${1:-}" = --list ] || ! command -v apt-get >/dev/null; then
	echo "missing to build and test sonde (names as in Debian):$missing" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "missing to build and test sonde: run \`sudo make deps\`, or install:$missing" >&2
	exit 1
fi
# shellcheck disable=SC2086 # a list of words
install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing; }
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The package lists of a fresh machine may be old or absent. Ubuntu 24.04 has no package bpftool: there the
# tool comes with the kernel's.
again() {
	apt-get update || return
	apt-cache show bpftool 2>/dev/null | grep -q '^Filename' ||
		missing=$(echo "$missing" | sed 's/ bpftool/ linux-tools-common linux-tools-generic/')
	install
}
if ! install >"$log" 2>&1 && ! again >"$log" 2>&1; then
	cat "$log" >&2
	echo "the packages could not be installed; see above" >&2
	exit 1
fi
