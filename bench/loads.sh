#!/bin/busybox sh
# The loads of the bench, run alike in a guest (as root of nothing but this initramfs) and on the host.
#   loads.sh BUSYBOX INTEGER DIRECTORY
# Each load is announced by `@@ begin NAME` and closed by `@@ end NAME RESULT`. Whoever reads these lines takes the
# time; the clock in here is not to be trusted, and not asked.
bb=$1
integer=$2
dir=$3

begin() { echo "@@ begin $1"; }
end() { echo "@@ end $1 $2"; }

begin awk
result=$("$bb" awk 'BEGIN { for (i = 0; i < 300000; i++) s += i; print s }')
end awk "$result"

"$bb" yes polyvisor | "$bb" head -c 8388608 >"$dir/eight-megabytes"
begin sha256
result=$("$bb" sha256sum "$dir/eight-megabytes")
end sha256 "${result%% *}"
"$bb" rm "$dir/eight-megabytes"

begin forkexec
count=0
while [ $count -lt 200 ]; do
  "$bb" true && count=$((count + 1))
done
end forkexec $count

begin dd
result=$("$bb" dd if=/dev/zero of=/dev/null bs=1 count=100000 2>&1)
set -- $result
end dd "$1"

"$integer"
echo "@@ done"
