#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tests' OpenTelemetry Collector (manifest.yaml) and prints the binary's path.
# A binary that was built from the same manifest and script is taken from the cache.
#
#   tests/e2e/collector/build.sh [CACHE_DIR]     default: build/cache
#
# Needs Go and the Go module proxy; about two minutes and 1 GB of module cache.
# Exit: 0 built or cached, 77 Go is missing, anything else: the build failed.
set -eu

builder_version=v0.155.0
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/../../../build/cache}"
cache=$(cd "${1:-$here/../../../build/cache}" && pwd)
key=$(cat "$here/manifest.yaml" "$here/build.sh" | sha256sum | cut -c1-16)
out=$cache/otelcol-$key

if [ -x "$out" ]; then
	echo "$out"
	exit 0
fi
PATH=$PATH:/usr/local/go/bin
if ! command -v go >/dev/null; then
	echo "build.sh: go is not installed; the Collector cannot be built" >&2
	exit 77
fi

work=$(mktemp -d "$cache/otelcol-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

GOBIN=$work/bin GOFLAGS= go install "go.opentelemetry.io/collector/cmd/builder@$builder_version" >&2
sed "s|^dist:|&\n  output_path: $work/src|" "$here/manifest.yaml" >"$work/manifest.yaml"
# The builder would now tidy, which also fetches what only the modules' own tests need. The build
# itself fetches what it uses, once go.mod names the versions.
"$work/bin/builder" --config "$work/manifest.yaml" --skip-get-modules --skip-compilation >&2
cd "$work/src"
go mod init sonde.test/otelcol >&2
sed -n 's/^  - gomod: //p' "$here/manifest.yaml" | while read -r module version; do
	go mod edit -require="$module@$version"
done
go mod edit -require="go.opentelemetry.io/collector/otelcol@$builder_version"
CGO_ENABLED=0 GOFLAGS= go build -mod=mod -trimpath -buildvcs=false -ldflags='-s -w' -o "$work/otelcol" . >&2
mv "$work/otelcol" "$out"
echo "$out"
