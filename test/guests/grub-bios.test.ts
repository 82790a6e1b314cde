/** GRUB's port to the BIOS, as Debian has it, from the boot sector of a disk; it loads Debian's kernel from there. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { makeGrubDisk } from './grub-disk-image.ts';
import { BOOT_TIMEOUT_MS, GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('debian', 'GRUB i386-pc from a disk');
const PROMPT = 'grub> ';

describe.skipIf(skipped)(title, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-grub-bios-'));
  const image = path.join(directory, 'disk.img');
  let session: GuestSession;

  beforeAll(async () => {
    const { file, initrd } = await catalogue.debian.load(new ProgressLine());
    mkdirSync(path.join(directory, 'boot'));
    writeFileSync(path.join(directory, 'boot', 'vmlinuz'), file);
    writeFileSync(path.join(directory, 'boot', 'initrd'), initrd ?? '');
    writeFileSync(image, await makeGrubDisk(directory));
    session = new GuestSession(image, '--disk', `${image},ro`, '--memory', '256M', '--no-reboot');
    await session.expect(PROMPT, BOOT_TIMEOUT_MS);
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });
  const command = async (text: string) => {
    session.type(`${text}\r`);
    return session.expect(PROMPT, BOOT_TIMEOUT_MS);
  };

  it('is started from the boot sector, and says so through the BIOS', () => {
    expect(session.stderr).toMatch(/^vm: entry bios: boot sector, as a BIOS starts it at 0x7c00/m);
    expect(session.console).toContain('GRUB loading...');
  });

  it('sees the disk and its partition', async () => {
    expect(await command('ls')).toMatch(/\(hd0\) \(hd0,msdos1\)/);
    expect(await command('ls /boot')).toMatch(/\bvmlinuz\b/);
  });

  it('starts the kernel, which finds the same disk again', async () => {
    for (const line of ['linux /boot/vmlinuz console=ttyS0 from=disk', 'initrd /boot/initrd']) {
      expect(await command(line)).not.toContain('error:');
    }
    session.type('boot\r');
    await reachShell(session);
    expect((await runCommand(session, 'cat /proc/cmdline')).output).toContain('from=disk');
    expect((await runCommand(session, 'cat /proc/partitions')).output).toMatch(/\bvda1\n/);
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});
