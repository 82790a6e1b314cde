#!/bin/sh
# Builds demo.elf with Debian's gcc and ld: ./build.sh [OUTPUT]. The same tools give the same bytes: no build id, no
# paths, sources in sorted order.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt/demo.elf}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

# No SSE and no red zone: exceptions push on the stack in use and save the general registers only.
flags="-std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -mcmodel=kernel -mno-red-zone -mgeneral-regs-only
  -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -fno-ident"

for source in $(LC_ALL=C ls core/*.[cS] doors/*/*.[cS]); do
  # shellcheck disable=SC2086 # the flags are words
  gcc $flags -c -o "$objects/$(echo "${source%.*}" | tr / _).o" "$source"
done
LC_ALL=C ld -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 -T demo.ld -o "$output" "$objects"/*.o
