#!/bin/sh
# Builds kernels.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh kernels.c "${1:-prebuilt/kernels.elf}"
