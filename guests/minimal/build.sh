#!/bin/sh
# Builds minimal.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/minimal.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
gcc -c -o "$objects/minimal.o" minimal.S
ld -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 -T minimal.ld -o "$output" "$objects/minimal.o"
