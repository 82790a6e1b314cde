/** GRUB's 32-bit PV port reads a disk through blkfront and starts another 32-bit PV kernel from it: itself. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { BOOT_TIMEOUT_MS, GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const { title, skipped } = await testsOf('grub-xen-i386', 'GRUB i386-xen with a disk');
const PROMPT = 'grub> ';

describe.skipIf(skipped)(title, () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-grub-'));
  const image = path.join(directory, 'disk.img');
  let session: GuestSession;

  beforeAll(async () => {
    const { file } = await catalogue['grub-xen-i386'].load(new ProgressLine());
    mkdirSync(path.join(directory, 'boot'));
    writeFileSync(path.join(directory, 'boot', 'kernel'), file);
    // An archive is a file system to GRUB, and needs no tool beyond those of the catalogue.
    execFileSync('tar', ['-C', directory, '--format=ustar', '-cf', image, 'boot']);
    session = new GuestSession('grub-xen-i386', '--plugin', 'xen', '--disk', `${image},ro`);
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

  it('reads the kernel from the disk', async () => {
    expect(await command('ls (xen/xvda)/boot')).toMatch(/\bkernel\b/);
    await command('set which=first');
    expect(await command('linux (xen/xvda)/boot/kernel')).not.toContain('error:');
  });

  it('starts it in its own place', async () => {
    session.type('boot\r');
    expect(await session.expect(PROMPT, BOOT_TIMEOUT_MS)).toContain('Welcome to GRUB!');
    expect(await command('if [ -z "$which" ]; then echo which=$grub_cpu; fi')).toContain('\nwhich=i386\n');
    expect(await command('ls')).toContain('(xen/xvda)');
  });

  it('powers off with exit code 0', async () => {
    session.type('halt\r');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});
