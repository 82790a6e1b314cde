#!/bin/sh
# Builds the ops module with Debian's gcc, in two versions and against two of the API: ./build.sh [OUTPUT]; OUTPUT's name says which.
set -eu
cd "$(dirname "$0")"
api=../../packages/plugin-api/include
compile() {
  gcc -c -std=gnu11 -O2 -Wall -Wextra -Werror -fno-ident @$api/pvops.flags -I $api "$@" count-cr3.c
}
build() {
  case $1 in
    *count-cr3-2.o) compile -DVERSION='"1.1.0"' -DCOUNT_FLUSHES -o "$1" ;;
    *count-cr3-api2.o) compile -DVERSION='"1.2.0"' -DPVOPS_API_MAJOR=2 -o "$1" ;;
    *) compile -o "$1" ;;
  esac
}
if [ $# -eq 0 ]; then set -- prebuilt/count-cr3.o prebuilt/count-cr3-2.o prebuilt/count-cr3-api2.o; fi
for output; do build "$output"; done
