#!/bin/sh
# Builds the driver with Debian's gcc: ./build.sh [OUTPUT]. Its code is for a loadable module of a 64-bit kernel.
set -eu
cd "$(dirname "$0")"
api=../../packages/plugin-api/include
gcc -c -std=gnu11 -O2 -Wall -Wextra -Werror -fno-ident @$api/pvops.flags -fno-pie -mcmodel=kernel -I $api driver.c \
  -o "${1:-prebuilt/ops-driver.o}"
