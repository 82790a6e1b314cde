#!/bin/busybox sh
# The loads of the bench, run alike in a guest (as root of nothing but this initramfs) and on the host.
#   loads.sh BUSYBOX TREE DIRECTORY LOAD…
# TREE holds programs/ (guests of this repository), debian/ (programs of Debian, with lib/, include/ and tcc/) and the
# files beside this one; DIRECTORY may be written to.
#
# A load is announced by `@@ begin NAME` and closed by `@@ end NAME RESULT`; a line `@@ stop NAME` between the two ends
# the time earlier, where looking at the result costs some. Whoever reads these lines takes the time; the clock in here
# is not to be trusted, and not asked.
#
# If `turns` stands before the loads, none is run unasked: `@@ done` asks for the name of one, a line of standard input, and
# when all is there that it needs, `@@ ready NAME` asks for another line, of any content, which starts it.
bb=$1
tree=$2
dir=$3
shift 3

ready() { :; }
begin() { ready "$1" && echo "@@ begin $1"; }
stop() { echo "@@ stop $1"; }
end() { echo "@@ end $1 $2"; }

# Runs a program of Debian with the libraries that lie beside it.
debian() {
  program=$1
  shift
  "$tree/debian/lib/ld-linux-x86-64.so.2" --library-path "$tree/debian/lib" "$tree/debian/bin/$program" "$@"
}

# Runs a program of this repository, which prints its marker lines itself.
own() {
  program=$1
  shift
  ready "$load" && "$tree/programs/$program" "$@"
}

load_awk() {
  begin awk
  result=$("$bb" awk 'BEGIN { for (i = 0; i < 300000; i++) s += i; print s }')
  end awk "$result"
}

load_sha256() {
  "$bb" yes polyvisor | "$bb" head -c 8388608 >"$dir/data"
  begin sha256
  result=$("$bb" sha256sum "$dir/data")
  end sha256 "${result%% *}"
}

load_forkexec() {
  begin forkexec
  count=0
  while [ $count -lt 200 ]; do
    "$bb" true && count=$((count + 1))
  done
  end forkexec $count
}

load_dd() {
  begin dd
  result=$("$bb" dd if=/dev/zero of=/dev/null bs=1 count=100000 2>&1)
  set -- $result
  end dd "$1"
}

# 20 MB: a fifth of it lines that count, the rest one line again and again.
write_text() {
  [ -f "$dir/text" ] || { "$bb" seq 1 600000; "$bb" yes polyvisor; } | "$bb" head -c 20971520 >"$dir/text"
}
same_text() { "$bb" cmp - "$dir/text" && echo same; }

load_gzip() {
  write_text
  begin gzip
  "$bb" gzip -c "$dir/text" >"$dir/packed"
  stop gzip
  end gzip "$("$bb" gzip -dc "$dir/packed" | same_text)"
}

load_xz() {
  write_text
  begin xz
  debian xz -0 -T1 -c "$dir/text" >"$dir/packed"
  stop xz
  end xz "$(debian xz -dc "$dir/packed" | same_text)"
}

load_lua() {
  begin lua
  end lua "$(debian lua5.4 "$tree/load.lua")"
}

load_sqlite() {
  begin sqlite
  end sqlite "$(debian sqlite3 -batch :memory: <"$tree/load.sql")"
}

# Eight times compiled, linked with libc, and run.
load_tcc() {
  lib=$tree/debian/lib
  begin tcc
  count=0
  while [ $count -lt 8 ]; do
    debian tcc -nostdinc -nostdlib -L"$lib" -I"$tree/debian/tcc/include" -I"$tree/debian/include" -o "$dir/compiled" \
      "$lib/crt1.o" "$lib/crti.o" "$tree/load.c" "$lib/libc.so.6" "$tree/debian/tcc/libtcc1.a" "$lib/crtn.o" || break
    count=$((count + 1))
  done
  end tcc "$count:$("$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$dir/compiled")"
}

# Its performance run of 5,000 iterations over 2,000 bytes, all three parts. That CoreMark calls a run of less than 10 s no valid
# result does not matter here: what it computed is looked at, and the time is not its own.
load_coremark() {
  begin coremark
  result=$("$tree/programs/coremark" 0 0 0x66 5000 7 1 2000)
  stop coremark
  end coremark "$(echo "$result" | "$bb" awk '/^Iterations  |crc/ { printf "%s%s", colon, $NF; colon = ":" }')"
}

# 1,500 small files in 30 directories; every seventh holds the word that is looked for.
write_tree() {
  [ -d "$dir/tree" ] && return
  number=0
  while [ $number -lt 1500 ]; do
    at=$dir/tree/$((number % 30))
    [ -d "$at" ] || "$bb" mkdir -p "$at"
    word=hay
    [ $((number % 7)) -eq 0 ] && word=needle
    echo "file $number holds $word and little else, and a second sentence that makes it longer" >"$at/file$number"
    number=$((number + 1))
  done
}

load_find() {
  write_tree
  begin find
  count=0
  for pass in 1 2 3 4 5 6; do
    count=$((count + $("$bb" find "$dir/tree" -type f -name '*7' -size -2 | "$bb" wc -l)))
  done
  end find $count
}

load_grep() {
  write_tree
  begin grep
  count=0
  for pass in 1 2 3; do
    count=$((count + $("$bb" grep -r 'holds n[a-f]*dle' "$dir/tree" | "$bb" wc -l)))
  done
  end grep $count
}

run() {
  load=$1
  case $load in
    xorshift | alu) own integer "$load" ;;
    k_*) own kernels "$load" ;;
    mixed) own mixed ;;
    null) own operations null 300000 ;;
    fault) own operations fault 50000 ;;
    map) own operations map 30000 ;;
    pipe) own operations pipe 10000 ;;
    spawn) own operations spawn 400 ;;
    shell) ;;
    *) "load_$load" ;;
  esac
  "$bb" rm -f "$dir/data" "$dir/packed" "$dir/compiled"
}

if [ "$1" = turns ]; then
  ready() { echo "@@ ready $1" && read -r line; }
  while echo "@@ done" && read -r name; do run "$name"; done
else
  for name in "$@"; do run "$name"; done
fi
"$bb" rm -rf "$dir/text" "$dir/tree"
echo "@@ done"
