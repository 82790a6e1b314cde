#!/bin/sh
# Builds lguest.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/lguest.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
flags='-m32 -march=i686 -mgeneral-regs-only -O2 -Wall -Wextra -Werror -std=gnu11 -ffreestanding -fno-pic -fno-stack-protector
  -fcf-protection=none -fno-asynchronous-unwind-tables -fno-builtin'
for source in start.S main.c calls.c rules.c devices.c pci.c; do
  # shellcheck disable=SC2086
  gcc $flags -c -o "$objects/$source.o" "$source"
done
ld -m elf_i386 -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 --no-warn-rwx-segments -T lguest.ld -o "$output" "$objects"/*.o
