#!/bin/sh
# Builds the ROMs with Debian's gcc and ld: ./build.sh [FOLDER]. The same tools give the same bytes.
# Without FOLDER they go to prebuilt/, and into the package as TypeScript: ../src/rom/images.ts.
set -eu
cd "$(dirname "$0")"
output=${1:-prebuilt}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
mkdir -p "$output"

# link CHUNKS PNP_CHECKSUM ROM_CHECKSUM: makes $objects/rom of $parts
link() {
  gcc -m32 -c -o "$objects/header.o" $definitions "-DROM_CHUNKS=$1" "-DPNP_CHECKSUM=$2" "-DROM_CHECKSUM=$3" header.S
  # shellcheck disable=SC2086 # the parts are words
  ld -m elf_i386 -T rom.ld --build-id=none -z noexecstack --no-warn-rwx-segments -o "$objects/rom.elf" "$objects/header.o" $parts
  objcopy -O binary "$objects/rom.elf" "$objects/rom"
}
# sum FIRST BYTES: what has to be added to that part of $objects/rom to make its bytes sum up to 0
sum() {
  od -An -v -tu1 -w1 -j "$1" -N "$2" "$objects/rom" | awk '{ s += $1 } END { print (256 - s % 256) % 256 }'
}

# rom NAME VERSION_MAJOR VERSION_MINOR VIRTUAL_TOP PRODUCT
rom() {
  definitions="-DROM_MAJOR=$2 -DROM_MINOR=$3 -DVIRTUAL_TOP=$4 -DPRODUCT=\"$5\""
  gcc -m32 -c -o "$objects/calls.o" "$1.S"
  gcc -m32 -c -Os -ffreestanding -fno-pic -fno-asynchronous-unwind-tables -fcf-protection=none \
    -Wall -Wextra -Werror -o "$objects/relocation.o" relocation.c
  parts="$objects/calls.o $objects/relocation.o"
  if [ -f "$1.c" ]; then
    # Finds its data from where it runs, wherever that is.
    gcc -m32 -c -march=i686 -mregparm=3 -Os -ffreestanding -fpie -fvisibility=hidden -fno-builtin -fno-stack-protector \
      -mgeneral-regs-only -fno-asynchronous-unwind-tables -fcf-protection=none -Wall -Wextra -Werror -o "$objects/code.o" "$1.c"
    parts="$parts $objects/code.o"
  fi
  link 1 0 0
  size=$(wc -c < "$objects/rom")
  chunks=$((size / 512))
  link "$chunks" 0 0
  pnp=$(sum 64 32)
  link "$chunks" "$pnp" 0
  link "$chunks" "$pnp" "$(sum 0 "$size")"
  install -m 644 "$objects/rom" "$output/$1.rom"
}

rom native 1 0 0 'native'
rom trap 1 1 0xffc00000 'trap'
rom xen 1 0 0 'xen'

[ $# -eq 0 ] || exit 0
{
  echo '// Made by ../../rom/build.sh: the ROMs of ../../rom/prebuilt in base64.'
  for name in native trap xen; do
    echo
    echo "// biome-ignore format: bytes"
    echo "export const $name = ["
    base64 -w 100 "$output/$name.rom" | sed "s/.*/  '&',/"
    echo "].join('');"
  done
} > ../src/rom/images.ts
