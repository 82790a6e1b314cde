#!/bin/sh
# Builds vmi.bzimage with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/vmi.bzimage}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for part in start traps native sites; do
  gcc -m32 -c -o "$objects/$part.o" "$part.S"
done
for part in main print machine rom cpu descriptors switches memory pae timers processors; do
  gcc -m32 -march=i686 -mregparm=3 -O2 -ffreestanding -fno-pic -fno-stack-protector -mgeneral-regs-only \
    -fcf-protection=none -fno-asynchronous-unwind-tables -Wall -Wextra -Werror -c -o "$objects/$part.o" "$part.c"
done
ld -m elf_i386 -T vmi.ld --build-id=none -z noexecstack --no-warn-rwx-segments --oformat binary -o "$output" "$objects"/*.o
chmod 644 "$output"
