#!/bin/sh
# Builds legacy.bin, a flat multiboot image, with Debian's as and ld: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/legacy.bin}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for part in boot selectors privilege tasks virtual8086 real paging long; do
  as --32 -o "$objects/$part.o" "$part.s"
done
ld -m elf_i386 -T legacy.ld --build-id=none -z noexecstack --oformat binary -o "$output" "$objects/boot.o" \
  "$objects/selectors.o" "$objects/privilege.o" "$objects/tasks.o" "$objects/virtual8086.o" "$objects/real.o" \
  "$objects/paging.o" "$objects/long.o"
