#!/bin/sh
# Builds integer.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh integer.c "${1:-prebuilt/integer.elf}"
