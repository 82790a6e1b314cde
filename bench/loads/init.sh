#!/bin/busybox sh
# /init of the bench's initramfs: the shell is reached, the tree's script is run, the machine is left.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
/bin/busybox mount -t tmpfs tmp /tmp
echo
echo "@@ begin shell"
echo "@@ end shell ok"
# The kernel's first random numbers take a second where the processor has none; no load is to wait for them.
/bin/busybox head -c 1 /dev/random >/dev/null
# shellcheck disable=SC2046 # the selection is words
/bin/busybox sh /bench/main.sh /bin/busybox /bench /tmp $(/bin/busybox cat /bench/selection)
/bin/busybox poweroff -f
