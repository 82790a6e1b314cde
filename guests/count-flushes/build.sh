#!/bin/sh
# Builds the 32-bit ops module with Debian's gcc: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
api=../../packages/plugin-api/include
output=${1:-prebuilt/count-flushes.o}
gcc -c -m32 -mregparm=3 -std=gnu11 -O2 -Wall -Wextra -Werror -fno-ident @$api/pvops.flags -I $api -o "$output" count-flushes.c
