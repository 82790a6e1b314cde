#!/bin/sh
# Builds mixed.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh mixed.c "${1:-prebuilt/mixed.elf}"
