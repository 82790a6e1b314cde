#!/bin/sh
# Builds ident.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/ident.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
gcc -m32 -c -o "$objects/ident.o" ident.S
ld -m elf_i386 -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 -T ident.ld -o "$output" "$objects/ident.o"
