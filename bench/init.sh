#!/bin/busybox sh
# /init of the bench's initramfs: the shell is reached, the loads are run, the machine is left.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev 2>/dev/null
echo
echo "@@ begin shell"
echo "@@ end shell ok"
/bin/busybox sh /loads.sh /bin/busybox /integer /tmp
/bin/busybox poweroff -f
