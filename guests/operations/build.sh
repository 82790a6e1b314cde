#!/bin/sh
# Builds operations.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh operations.c "${1:-prebuilt/operations.elf}"
