import type { CpioEntry } from './cpio.ts';
import { writeCpio } from './cpio.ts';

/**
 * Process 1 until the file systems are there, the devices on paravirtual buses and PCI have their drivers, and a network
 * interface its lease; then busybox's init, which answers `poweroff`, `reboot` and `halt`.
 */
const INIT = `#!/bin/sh
/bin/busybox mount -t proc proc /proc
[ -e /bin/ls ] || /bin/busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmp /tmp
hostname polyvisor
for bus in xen pci virtio; do
  wanted=
  for device in /sys/bus/$bus/devices/*; do
    [ -e $device/modalias ] && read -r alias <$device/modalias && wanted="$wanted $alias"
  done
  [ -z "$wanted" ] || modprobe -abq $wanted
done
if [ -e /dev/xvda ] || [ -e /dev/vda ]; then
  modprobe -aq ext4 vfat isofs
fi
if [ -e /sys/class/net/eth0 ]; then
  ip link set lo up
  udhcpc -i eth0 -q -n -t 3 -T 1 >/dev/null 2>&1
fi
exec /bin/busybox init
`;

const INITTAB = `::respawn:/etc/session
`;

/**
 * cttyhack finds the console's device in /sys/class/tty and makes it the shell's controlling
 * terminal, so that Ctrl-C and job control work. The machine goes when the shell does.
 */
const SESSION = `#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root ENV=/etc/shrc
cd /root
setsid cttyhack sh
exec /bin/busybox poweroff -f
`;

/** What udhcpc calls for each event (busybox, networking/udhcp). */
const DHCP_SCRIPT = `#!/bin/sh
case $1 in
deconfig)
  ip addr flush dev $interface
  ip link set $interface up
  ;;
bound | renew)
  ip addr flush dev $interface
  ip addr add $ip/\${mask:-24} dev $interface
  for gateway in $router; do ip route add default via $gateway; done
  : >/etc/resolv.conf
  for server in $dns; do echo nameserver $server >>/etc/resolv.conf; done
  ;;
esac
`;

/** Typed by hand, the three take effect at once: init would first give processes seconds to end. */
const SHELL_SETUP = `PS1='~ # '
alias poweroff='poweroff -f' reboot='reboot -f' halt='halt -f'
`;

const DIRECTORIES = ['bin', 'dev', 'etc', 'etc/udhcpc', 'mnt', 'proc', 'root', 'sbin', 'sys', 'tmp'];
/**
 * What the kernel calls: for modules that it wants, and when its hypervisor asks it to power off or reboot (Linux,
 * Documentation/admin-guide/sysctl/kernel.rst, modprobe; kernel/reboot.c, poweroff_cmd and reboot_cmd).
 */
const CALLED_BY_KERNEL = ['modprobe', 'poweroff', 'reboot'];

/**
 * An initramfs that mounts the usual file systems and starts an interactive busybox shell on the
 * console. `applets` become links in /bin; if there are none, the guest makes them itself. `modules` are the kernel's
 * own, where it has any (modules.ts).
 */
export function buildInitramfs(
  busybox: Uint8Array,
  applets: readonly string[],
  modules: readonly CpioEntry[] = [],
): Uint8Array {
  const links = new Set(['sh', ...applets].filter((name) => /^[\w[-]+$/.test(name) && name !== 'busybox'));
  const entries: CpioEntry[] = [
    ...DIRECTORIES.map((path): CpioEntry => ({ kind: 'directory', path })),
    // The kernel opens it for process 1 before devtmpfs is mounted (Linux, Documentation/admin-guide/devices.txt).
    { kind: 'characterDevice', path: 'dev/console', major: 5, minor: 1 },
    script('init', INIT),
    script('etc/session', SESSION),
    script('etc/inittab', INITTAB),
    script('etc/shrc', SHELL_SETUP),
    script('etc/udhcpc/default.script', DHCP_SCRIPT),
    { kind: 'file', path: 'bin/busybox', bytes: busybox, mode: 0o755 },
    ...CALLED_BY_KERNEL.map((name): CpioEntry => ({ kind: 'link', path: `sbin/${name}`, target: '../bin/busybox' })),
    ...[...links].map((name): CpioEntry => ({ kind: 'link', path: `bin/${name}`, target: 'busybox' })),
    ...modules,
  ];
  return writeCpio(entries);
}

/**
 * An initramfs with a program in /bin besides: archives may follow each other (Linux,
 * Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export function withProgram(initramfs: Uint8Array, name: string, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([initramfs, writeCpio([{ kind: 'file', path: `bin/${name}`, bytes, mode: 0o755 }])]);
}

function script(path: string, text: string): CpioEntry {
  return { kind: 'file', path, bytes: Buffer.from(text), mode: 0o755 };
}
