/** GRUB's ports to Xen, PV and PVH, load Debian's kernel from a disk, and hand their devices over to it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { BOOT_TIMEOUT_MS, GuestSession } from './guest-session.ts';
import { expectOnlyReports } from './said-by-vm.ts';

const GRUBS = [
  { name: 'grub-xen', says: 'Booting kernel on Xen\n', ...(await testsOf('grub-xen', 'GRUB x86_64-xen with a disk')) },
  {
    name: 'grub-xen-pvh',
    // It goes to the kernel by the Linux boot protocol: nobody names PVH's entry.
    says: 'Booting paravirtualized kernel on Xen PVH\n',
    ...(await testsOf('grub-xen-pvh', 'GRUB i386-xen_pvh with a disk')),
  },
];
const debian = await testsOf('debian', '');
const PROMPT = 'grub> ';

describe.each(GRUBS)(`$title${debian.title}`, ({ name, says, skipped }) => {
  if (skipped || debian.skipped) {
    it.skip('starts the kernel', () => {});
    return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-grub-'));
  const image = path.join(directory, 'disk.img');
  let session: GuestSession;

  beforeAll(async () => {
    const { file, initrd } = await catalogue.debian.load(new ProgressLine());
    const boot = path.join(directory, 'boot');
    mkdirSync(boot);
    writeFileSync(path.join(boot, 'vmlinuz'), file);
    writeFileSync(path.join(boot, 'initrd'), initrd ?? '');
    // An archive is a file system to GRUB, and needs no tool beyond those of the catalogue.
    execFileSync('tar', ['-C', directory, '--format=ustar', '-cf', image, 'boot']);
    session = new GuestSession(name, '--plugin', 'xen', '--disk', `${image},ro`);
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

  it('sees the disk and what is on it', async () => {
    expect(await command('ls')).toContain('(xen/xvda)');
    expect(await command('ls (xen/xvda)/boot')).toMatch(/\bvmlinuz\b/);
  });

  it('starts the kernel, which finds the same disk again', async () => {
    for (const line of ['linux (xen/xvda)/boot/vmlinuz console=hvc0 from=disk', 'initrd (xen/xvda)/boot/initrd']) {
      expect(await command(line)).not.toContain('error:');
    }
    session.type('boot\r');
    await reachShell(session);
    expect(session.console).toContain(says);
    expect((await runCommand(session, 'cat /proc/cmdline')).output).toContain('from=disk');
    expect((await runCommand(session, 'dd if=/dev/xvda bs=512 count=1 2>/dev/null | head -c 4')).output).toBe('boot');
  });

  it('powers off with exit code 0', async () => {
    session.send('poweroff');
    const { exitCode, stderr } = await session.ended();
    expect(exitCode).toBe(0);
    expectOnlyReports(stderr);
  });
});
