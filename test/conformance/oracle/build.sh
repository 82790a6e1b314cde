#!/bin/sh
# Build the oracle with Debian's gcc. Usage: build.sh [OUTPUT]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-"$here/build/oracle"}
mkdir -p "$(dirname "$out")"
# The signal handler runs with the case's FS base: no stack protector, which would read from there.
gcc -std=gnu11 -O2 -Wall -Wextra -Werror -fno-stack-protector -mfsgsbase -Wl,-z,now -o "$out" "$here/oracle.c"
