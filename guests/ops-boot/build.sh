#!/bin/sh
# Builds ops-boot.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/ops-boot.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for part in start enter; do
  gcc -m32 -c -o "$objects/$part.o" "$part.S"
done
for part in main say information multiboot1 multiboot2 modules places kernel zero_page video hand_over; do
  gcc -m32 -march=i686 -O2 -std=gnu11 -ffreestanding -fno-pic -fno-stack-protector -mgeneral-regs-only \
    -fcf-protection=none -fno-asynchronous-unwind-tables -fno-ident -fno-tree-loop-distribute-patterns \
    -Wall -Wextra -Werror -c -o "$objects/$part.o" "$part.c"
done
ld -m elf_i386 -nostdlib --build-id=none -z noexecstack --no-warn-rwx-segments -z max-page-size=4096 -T ops-boot.ld \
  -o "$output" "$objects"/*.o
