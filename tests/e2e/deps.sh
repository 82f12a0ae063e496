#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what the end-to-end tests use (Debian, Ubuntu). Idempotent; what is there stays as it is.
#
#   tests/e2e/deps.sh [--list]
#
# A package that would start a service of its own is kept from doing so, and from being enabled. Node, Go,
# Cargo and a JDK that are on the PATH already are used instead of the distribution's.
set -eu
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

packages="nginx-light apache2-bin lighttpd haproxy php-cli python3-uvicorn python3-h11 libtomcat10-embed-java
	apache2-utils nghttp2-client wrk curl prometheus liburing-dev"
has() { command -v "$1" >/dev/null 2>&1; }
has python3 || packages="$packages python3"
has node || packages="$packages nodejs"
has go || packages="$packages golang-go"
has cargo || packages="$packages cargo librust-hyper-dev librust-tokio-dev"
has javac || packages="$packages default-jdk-headless"
# a 32-bit program; gcc-multilib would drive out cross compilers
if has gcc && [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ]; then
	packages="$packages libc6-dev-i386 lib32gcc-$(gcc -dumpversion)-dev"
fi

missing=
for p in $packages; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -z "$missing" ]; then
	exit 0
fi
if [ "${1:-}" = --list ]; then
	echo "$missing" | tr ' ' '\n' | sed '/^$/d'
	exit 0
fi
if ! has apt-get; then
	echo "tests/e2e/deps.sh: no apt-get here; the tests of what is missing will be skipped:$missing" >&2
	exit 0
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
	trap 'rm -f $policy' EXIT
fi
# available or not (another release), one by one: what is not there is skipped by the tests, aloud
available=
for p in $missing; do
	if apt-cache show "$p" >/dev/null 2>&1; then available="$available $p"; fi
done
if [ -z "$available" ]; then
	apt-get update -q
	available=$missing
fi
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $available || {
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $available
}
for p in $available; do
	case $p in
	nginx-light | lighttpd | haproxy | prometheus)
		if has systemctl; then systemctl disable -q "${p%-light}" 2>/dev/null || true; fi ;;
	esac
done
