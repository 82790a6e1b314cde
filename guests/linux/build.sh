#!/bin/sh
# Compiles one static Linux program without libc: build.sh SOURCE OUTPUT. Debian's gcc; the same tools give the same bytes.
# -fno-tree-loop-distribute-patterns: a loop that copies stays a loop and does not become a call of memcpy.
# -fno-tree-vectorize: loops stay as they are written, so that an instruction is counted as one.
set -eu
here=$(dirname "$0")
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pie -mgeneral-regs-only -fno-stack-protector -fno-ident \
  -fno-asynchronous-unwind-tables -fcf-protection=none -fno-tree-loop-distribute-patterns -fno-tree-vectorize \
  -I"$here" -nostdlib -static -no-pie -s -Wl,--build-id=none -Wl,-z,noexecstack -o "$2" "$1"
