/**
 * GRUB's port to the BIOS, as Debian has it, starts guests/ops-boot by either Multiboot, with Debian's kernel, an initrd and an ops
 * module; under QEMU the same disk comes to the same shell.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { makeGrubDisk } from './grub-disk-image.ts';
import { BOOT_TIMEOUT_MS, ConsoleSession, GuestSession } from './guest-session.ts';
import { COMPLAINTS, type ListedModule, type OpsReport, ops, startPrograms } from './ops-commands.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', 'GRUB hands over ops modules');
const QEMU = 'qemu-system-x86_64';
/** Where everything has to be there, a test without its QEMU fails. */
const hasQemu = spawnSync(QEMU, ['--version']).status === 0 || process.env.CI !== undefined;
const guests = fileURLToPath(new URL('../../guests/', import.meta.url));
const FILES = {
  'ops-boot.elf': 'ops-boot/prebuilt/ops-boot.elf',
  'count-cr3.o': 'count-cr3/prebuilt/count-cr3.o',
  'count-flushes.o': 'count-flushes/prebuilt/count-flushes.o',
};
/** The hotkeys are the versions of Multiboot. The second module is for a 32-bit kernel. */
const MENU = `set timeout=-1
menuentry 'by Multiboot' --hotkey=1 {
  multiboot /boot/ops-boot.elf
  module /boot/vmlinuz console=ttyS0 by=multiboot1
  module /boot/initrd
  module /boot/count-cr3.o
}
menuentry 'by Multiboot2' --hotkey=2 {
  multiboot2 /boot/ops-boot.elf
  module2 /boot/count-cr3.o
  module2 /boot/count-flushes.o for 32 bits
  module2 /boot/initrd
  module2 /boot/vmlinuz console=ttyS0 by=multiboot2
}
`;
const LAST_LINE = 'by Multiboot2';
const sha256 = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');

describe.skipIf(skipped)(title, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-grub-ops-'));
  const image = path.join(directory, 'disk.img');
  let before = '';

  beforeAll(async () => {
    const { file, initrd } = await catalogue.debian.load(new ProgressLine());
    const boot = path.join(directory, 'boot');
    mkdirSync(path.join(boot, 'grub'), { recursive: true });
    writeFileSync(path.join(boot, 'vmlinuz'), file);
    writeFileSync(path.join(boot, 'initrd'), initrd ?? '');
    for (const [name, source] of Object.entries(FILES)) copyFileSync(path.join(guests, source), path.join(boot, name));
    writeFileSync(path.join(boot, 'grub/grub.cfg'), MENU);
    writeFileSync(image, await makeGrubDisk(directory));
    before = sha256(image);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  it.each([
    ['Multiboot', 1],
    ['Multiboot2', 2],
  ])('to a kernel that it starts by %s, where they are before the first process', async (_name, version) => {
    const name = `grub-ops-${version}-${process.pid}`;
    const session = new GuestSession(image, '--disk', image, '--memory', '256M', '--no-reboot', '--name', name);
    try {
      await session.expect(LAST_LINE, BOOT_TIMEOUT_MS);
      session.type(String(version));
      await session.expect('ops-boot: ops modules handed over: 1\n', BOOT_TIMEOUT_MS);
      if (version === 2) {
        expect(session.console).toContain('ops-boot: module 2 (for 32 bits) is not taken (PV5023), and left out\n');
        expect(session.stderr).toMatch(/^vm: not taken from the guest: PV5023: ops module count-flushes /m);
      }
      await reachShell(session);
      expect(session.stderr).toMatch(/^vm: the guest hands over a kernel: bzImage \(Linux 6\./m);
      expect(session.stderr).toMatch(/^vm: ops module count-cr3 1\.0\.0 loaded at boot: \d+ call sites written$/m);
      expect((await runCommand(session, 'cat /proc/cmdline')).output).toBe(`console=ttyS0 by=multiboot${version}\n`);
      const counted = async () => {
        const [module] = await ops<ListedModule[]>('list', name);
        expect(module).toMatchObject({ name: 'count-cr3', kind: 'guestCode' });
        return Number(module.variables.cr3_writes);
      };
      const soFar = await counted();
      expect(soFar).toBeGreaterThan(100);
      await startPrograms(session);
      expect(await counted()).toBeGreaterThan(soFar);
      expect(await ops<OpsReport>('report', '--vm', name)).toMatchObject({ strays: 0 });
      expect(session.console).not.toMatch(COMPLAINTS);
      session.send('poweroff');
      const { exitCode, stderr } = await session.ended();
      expect(exitCode).toBe(0);
      expectOnlyReports(stderr);
    } finally {
      await session.stop();
    }
  });

  it.skipIf(!hasQemu).each([
    ['Multiboot', 1],
    ['Multiboot2', 2],
  ])(
    `or starts it without them by %s, under ${QEMU}${hasQemu ? '' : ' (skipped: it is not installed)'}`,
    async (_name, version) => {
      const machine = ['-accel', 'tcg', '-m', '256', '-display', 'none', '-monitor', 'none', '-no-reboot'];
      const disk = ['-drive', `file=${image},format=raw`, '-serial', 'stdio'];
      const session = new ConsoleSession(QEMU, [...machine, ...disk]);
      try {
        await session.expect(LAST_LINE, BOOT_TIMEOUT_MS);
        session.type(String(version));
        const count = version;
        const line = `ops-boot: no ops calls on this machine: the kernel starts without its ops modules (${count})\n`;
        await session.expect(line, BOOT_TIMEOUT_MS);
        await reachShell(session);
        expect((await runCommand(session, 'cat /proc/cmdline')).output).toBe(`console=ttyS0 by=multiboot${version}\n`);
        session.send('poweroff');
        expect(await session.ended()).toMatchObject({ exitCode: 0 });
      } finally {
        await session.stop();
      }
    },
  );

  it('and the disk, with the kernel on it, is as it was', () => {
    expect(sha256(image)).toBe(before);
  });
});
