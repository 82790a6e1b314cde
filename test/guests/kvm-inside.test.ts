/**
 * Hardware assistance by a hypervisor that others have written: Debian's stock kernel with its own KVM, and in that the same kernel
 * again. The monitor in between is ours (guests/kvm), since Debian packs none that small.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { debianModules } from './debian-modules.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';

/** Of each vendor's assistance: the modules in the order in which they need each other, and what shows that they have found it. */
const VENDORS = [
  {
    plugin: 'hwassist',
    name: 'SVM',
    modules: ['virt/lib/irqbypass.ko', 'drivers/crypto/ccp/ccp.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-amd.ko'],
    says: ['kvm: Nested Virtualization enabled', 'SVM: kvm: Nested Paging enabled'],
    finds: 'dmesg | grep -i kvm',
    flag: 'svm',
    entries: /hwassist\.vmrun +(\d+)/,
  },
  {
    plugin: 'hwassist=vmx',
    name: 'VMX',
    modules: ['virt/lib/irqbypass.ko', 'arch/x86/kvm/kvm.ko', 'arch/x86/kvm/kvm-intel.ko'],
    says: ['ept: Y', 'unrestricted_guest: Y', 'vpid: Y'],
    finds:
      'cd /sys/module/kvm_intel/parameters; for each in ept unrestricted_guest vpid; do echo "$each: $(cat $each)"; done; cd /',
    flag: 'vmx',
    entries: /hwassist\.vmentry +(\d+)/,
  },
] as const;
const source = fileURLToPath(new URL('../../guests/kvm/vmm.c', import.meta.url));
/** What the inner guest does: it says what it is, and resets. */
const INNER_INIT = [
  '#!/bin/busybox sh',
  '/bin/busybox mount -t proc proc /proc; /bin/busybox mount -t devtmpfs dev /dev',
  'echo "<2>inner: $(/bin/busybox uname -srm), $(/bin/busybox grep -c ^processor /proc/cpuinfo) processor" > /dev/kmsg',
  '/bin/busybox reboot -f',
];
/** Without its local APIC, which this monitor has no firmware tables to tell of. */
const INNER_COMMAND_LINE = 'console=ttyS0 panic=-1 nolapic quiet';

const { title, skipped } = await testsOf('debian', "Debian's KVM");
const hasCompiler = process.env.CI !== undefined || spawnSync('gcc', ['--version']).status === 0;

describe.skipIf(skipped || !hasCompiler).each(VENDORS)(`${title} on an emulated $name`, (vendor) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-kvm-'));
  const shared = path.join(directory, 'shared');
  let session: GuestSession;

  beforeAll(async () => {
    mkdirSync(shared);
    execFileSync('gcc', ['-O1', '-static', '-o', path.join(shared, 'vmm'), source]);
    const { name, file } = await catalogue.debian.load(new ProgressLine());
    writeFileSync(path.join(shared, 'bzImage'), file);
    writeFileSync(path.join(shared, 'init'), `${INNER_INIT.join('\n')}\n`);
    for (const [i, module] of (await debianModules(name, vendor.modules, new ProgressLine())).entries())
      writeFileSync(path.join(shared, path.basename(vendor.modules[i])), module);
    session = new GuestSession(
      ...['debian', '--plugin', vendor.plugin, '--no-reboot', '--memory', '1G', '--share', `${shared}:src`, '--stats'],
    );
    await reachShell(session);
    await runCommand(session, 'dmesg -n 1; mkdir -p /src; mount -t 9p -o trans=virtio,version=9p2000.L src /src');
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });
  const output = async (command: string) => (await runCommand(session, command)).output;

  it('finds it with a second level of paging', async () => {
    for (const module of vendor.modules) expect(await output(`insmod /src/${path.basename(module)}`)).toBe('');
    const said = await output(vendor.finds);
    for (const line of vendor.says) expect(said).toContain(line);
    expect(await output(`grep -c -w '^flags.*${vendor.flag}' /proc/cpuinfo`)).toBe('1\n');
  });

  it('runs a few instructions in real-address mode', async () => {
    expect(await output('/src/vmm')).toBe('ok\nvmm: reset after 4 exits\n');
  });

  it('boots the same kernel inside', async () => {
    await output(
      'mkdir -p /inner/bin /inner/proc /inner/dev; cp /bin/busybox /inner/bin; cp /src/init /inner; chmod +x /inner/init',
    );
    await output('cd /inner; mknod dev/console c 5 1; find . | cpio -o -H newc > /inner.cpio; cd /');
    const said = await output(`/src/vmm /src/bzImage /inner.cpio "${INNER_COMMAND_LINE}"`);
    expect(said).toMatch(/inner: Linux \S+-amd64 x86_64, 1 processor\n/);
    expect(said).toMatch(/vmm: reset after \d+ exits\n$/);
  });

  it('powers off, with exit code 0', async () => {
    session.send('poweroff -f');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expect(Number(vendor.entries.exec(stderr)?.[1])).toBeGreaterThan(10_000);
  });
});
