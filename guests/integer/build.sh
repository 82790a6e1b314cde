#!/bin/sh
# Builds integer.elf with Debian's gcc: ./build.sh [OUTPUT]. The same tools give the same bytes.
set -eu
cd "$(dirname "$0")"
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pie -mgeneral-regs-only -fno-stack-protector -fno-ident \
  -fno-asynchronous-unwind-tables -fcf-protection=none -nostdlib -static -no-pie -s \
  -Wl,--build-id=none -Wl,-z,noexecstack -o "${1:-prebuilt/integer.elf}" integer.c
