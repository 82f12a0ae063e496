#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Documents that are made from the table of options (user/options.h).
#
#   deploy/docs.sh SONDE           make them
#   deploy/docs.sh --check SONDE   fail when one is not what would be made
set -eu
check=
if [ "$1" = --check ]; then
	check=1
	shift
fi
sonde=$1
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$sonde" print-docs reference >"$work/configuration.md"
"$sonde" print-docs example >"$work/sonde.yaml"
"$sonde" print-docs manual >"$work/options"
version=$("$sonde" --version | cut -d' ' -f2)
sed -e "s/@VERSION@/$version/" -e "/^@OPTIONS@\$/{
r $work/options
d
}" deploy/sonde.8.in >"$work/sonde.8"

failed=0
passed=0
for f in docs/configuration.md deploy/sonde.yaml deploy/sonde.8; do
	made=$work/${f##*/}
	if [ -z "$check" ]; then
		cmp -s "$made" "$f" 2>/dev/null || { cp "$made" "$f" && echo "made $f"; }
	elif diff -u "$f" "$made" >"$work/diff" 2>&1; then
		passed=$((passed + 1))
	else
		echo "$f is not up to date: run \`make docs\`"
		head -20 "$work/diff"
		failed=$((failed + 1))
	fi
done
[ -z "$check" ] && exit 0
# what \`sonde doctor\` may say of a program or a feature stands in docs/status.md, in the same words
sed -n '/^static const char \*judge(/,/^}/p' user/doctor.c | grep -o '"[a-z0-9][^"]* [^"]*"' | tr -d '"' | sed 's/%s/…/g' >"$work/words"
grep -o '\[FEAT_[A-Z_]*\] = { { "[a-z_]*"' user/features.c | grep -o '"[a-z_]*"' | tr -d '"' >>"$work/words"
sed -n '/how_words\[\] = {/,/^}/p' user/lockdown.c | grep -o '"[^"]* [^"]*"' | tr -d '"' >>"$work/words"
if [ "$(wc -l <"$work/words")" -lt 24 ]; then
	echo "deploy/docs.sh no longer finds the words of user/doctor.c, user/features.c and user/lockdown.c"
	failed=$((failed + 1))
elif missing=$(while read -r w; do grep -qF "\`$w\`" docs/status.md || echo "docs/status.md lacks: $w"; done <"$work/words") && [ -z "$missing" ]; then
	passed=$((passed + 1))
else
	echo "$missing"
	failed=$((failed + 1))
fi
# what roff itself thinks of the page
if command -v groff >/dev/null; then
	if said=$(groff -man -Tutf8 -ww -z "$work/sonde.8" 2>&1) && [ -z "$said" ]; then
		passed=$((passed + 1))
	else
		echo "deploy/sonde.8: $said"
		failed=$((failed + 1))
	fi
	echo "$passed passed, $failed failed, 0 skipped"
else
	echo "skipped: the manual's markup (groff is not installed)"
	echo "$passed passed, $failed failed, 1 skipped"
fi
[ "$failed" = 0 ]
