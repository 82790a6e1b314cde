#!/bin/sh
# Builds hello.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/hello.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
gcc -c -o "$objects/hello.o" hello.S
ld -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 -T hello.ld -o "$output" "$objects/hello.o"
