/** Xen itself, as Debian packs it, on the machine: it finds the assistance, and runs Debian's kernel as its first domain. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { catalogue } from '../../packages/cli/src/catalogue/index.ts';
import { debianXen } from '../../packages/cli/src/catalogue/xen.ts';
import { ProgressLine } from '../../packages/cli/src/progress.ts';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand } from './debian-shell.ts';
import { GuestSession } from './guest-session.ts';

/** Of each vendor's assistance: what Xen says that it has found. */
const VENDORS = [
  { plugin: 'hwassist', name: 'SVM', says: [' - Nested Page Tables (NPT)', ' - Next-RIP Saved on #VMEXIT'] },
  {
    plugin: 'hwassist=vmx',
    name: 'VMX',
    says: [' - Extended Page Tables (EPT)', ' - Virtual-Processor Identifiers (VPID)', ' - Unrestricted Guest'],
  },
] as const;
const { title, skipped } = await testsOf('debian', "Debian's Xen");

describe.skipIf(skipped).each(VENDORS)(`${title} on an emulated $name`, ({ plugin, name, says }) => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-xen-inside-'));
  const kernel = path.join(directory, 'vmlinuz');
  const initrd = path.join(directory, 'initrd');
  let session: GuestSession;

  beforeAll(async () => {
    const { file, initrd: archive } = await catalogue.debian.load(new ProgressLine());
    writeFileSync(kernel, file);
    writeFileSync(initrd, archive ?? '');
    session = new GuestSession(
      ...[await debianXen(new ProgressLine()), '--plugin', plugin, '--no-reboot', '--memory', '1G'],
      ...['--append', 'xen console=com1 com1=115200 loglvl=all dom0_mem=400M'],
      ...['--boot-module', `${kernel}:vmlinuz console=hvc0`, '--boot-module', `${initrd}:initrd`],
    );
    await reachShell(session);
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });

  it('finds it with a second level of paging', () => {
    for (const line of [...says, `HVM: ${name} enabled`, 'HVM: Hardware Assisted Paging (HAP) detected'])
      expect(session.console).toContain(`(XEN) ${line}\n`);
  });

  it('runs Debian as dom0', async () => {
    const { output } = await runCommand(
      session,
      'cat /sys/hypervisor/type /sys/hypervisor/uuid; dmesg | grep "Booting"',
    );
    expect(output).toMatch(/^xen\n0{8}-0{4}-0{4}-0{4}-0{12}\n.*Booting kernel on Xen\n$/);
  });

  it('powers off, with exit code 0', async () => {
    session.send('poweroff -f');
    expect((await session.ended()).exitCode).toBe(0);
    expect(session.console).toContain('(XEN) Entering ACPI S5 state.');
  });
});
