#!/bin/busybox sh
# Runs programs of this repository, which print marker lines themselves (loads.sh).
#   programs.sh BUSYBOX TREE DIRECTORY PROGRAM WORD… [-- PROGRAM WORD…]…
tree=$2
shift 3
words=
for word in "$@" --; do
  if [ "$word" = -- ]; then
    # shellcheck disable=SC2086 # words are words
    "$tree"/programs/${words# }
    words=
  else
    words="$words $word"
  fi
done
echo "@@ done"
