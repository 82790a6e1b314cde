#!/bin/sh
# Builds demo.elf and demo32.elf with Debian's gcc and ld: ./build.sh [OUTPUT]; OUTPUT's name says which of the two. The
# same tools give the same bytes: no build id, no paths, sources in sorted order.
set -eu
cd "$(dirname "$0")"
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

# No SSE and no red zone: exceptions push on the stack in use and save the general registers only.
common="-std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-pic -mgeneral-regs-only -fno-stack-protector
  -fno-asynchronous-unwind-tables -fcf-protection=none -fno-ident"

# link OUTPUT EMULATION WIDTH FLAGS FOLDERS
link() {
  output=$1 emulation=$2 width=$3 flags=$4
  shift 4
  rm -f "$objects"/*
  for folder in core "cpu/$width" doors/xen doors/xen_pv "doors/xen_pv/$width" "$@"; do
    for source in $(LC_ALL=C find "$folder" -maxdepth 1 -name '*.[cS]' | LC_ALL=C sort); do
      # shellcheck disable=SC2086 # the flags are words
      gcc $common $flags -I "cpu/$width" -c -o "$objects/$(echo "${source%.*}" | tr / _).o" "$source"
    done
  done
  LC_ALL=C ld -m "$emulation" -nostdlib --build-id=none -z noexecstack -z max-page-size=4096 -T "cpu/$width/demo.ld" \
    -o "$output" "$objects"/*.o
}
build() {
  case $1 in
    *demo32.elf) link "$1" elf_i386 32 '-m32 -march=i686' doors/native doors/xen_pvh doors/vmi doors/lguest ;;
    *) link "$1" elf_x86_64 64 '-mcmodel=kernel -mno-red-zone' ;;
  esac
}
if [ $# -eq 0 ]; then set -- prebuilt/demo.elf prebuilt/demo32.elf; fi
for output; do build "$output"; done
