#!/bin/sh
# Builds threads.elf: ./build.sh [OUTPUT].
set -eu
cd "$(dirname "$0")"
../linux/build.sh threads.c "${1:-prebuilt/threads.elf}"
