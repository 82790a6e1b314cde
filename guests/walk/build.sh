#!/bin/sh
# Builds walk.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh walk.c "${1:-prebuilt/walk.elf}"
