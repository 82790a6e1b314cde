#!/bin/sh
# Builds sniff.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/sniff.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
gcc -m32 -c -o "$objects/sniff.o" sniff.S
ld -m elf_i386 -nostdlib --build-id=none -z noexecstack --no-warn-rwx-segments -z max-page-size=4096 -T sniff.ld -o "$output" "$objects/sniff.o"
