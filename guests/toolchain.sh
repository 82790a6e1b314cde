#!/bin/sh
# Names the compiler and linker that build the guests, one a line; toolchain.txt holds the answer for the prebuilt images.
set -eu
gcc --version | head -n 1
gcc -dumpmachine
ld --version | head -n 1
