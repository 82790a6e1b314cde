/** An operating system that is no ELF image starts by full virtualization alone, whatever plug-in is there (R24). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const LINE = 'started by a BIOS\r\n';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-boot-sector-'));
const image = path.join(directory, 'disk.img');
writeFileSync(image, diskThatSays(LINE));
afterAll(() => rmSync(directory, { recursive: true }));

/** A disk of 64 sectors; its first says a text by INT 10h and resets the machine by the keyboard controller. */
function diskThatSays(text: string): Uint8Array {
  const disk = new Uint8Array(64 * 512);
  const code = [
    ...[0xfc, 0xbe, 0x13, 0x7c], // cld; mov si, 0x7c13
    ...[0xac, 0x84, 0xc0, 0x74, 0x06], // next: lodsb; test al, al; jz done
    ...[0xb4, 0x0e, 0xcd, 0x10, 0xeb, 0xf5], // mov ah, 0x0e; int 0x10; jmp next
    ...[0xb0, 0xfe, 0xe6, 0x64], // done: mov al, 0xfe; out 0x64, al; the text follows
  ];
  disk.set([...code, ...Buffer.from(`${text}\0`)]);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

function run(...args: string[]) {
  const command = [vm, 'run', image, '--clock', 'icount', '--no-reboot', '--timeout', '60', ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8', timeout: 120_000 });
  return { status, stdout, stderr };
}

describe('a disk with a boot sector', () => {
  it.each(['none', 'xen', 'lguest-like', 'vmi'])('starts as on a PC with --plugin %s', (plugin) => {
    const { status, stdout, stderr } = run('--disk', image, '--plugin', plugin);
    expect(stderr).toMatch(/^vm: entry bios: boot sector, as a BIOS starts it at 0x7c00/m);
    expect(stdout).toBe(LINE);
    expect(stderr).toMatch(/^vm: the guest rebooted/m);
    expect(status).toBe(7);
  });

  it.each([
    ['xen', 'pv', 'Xen PV'],
    ['xen', 'pvh', 'Xen PVH'],
    ['lguest-like', 'lguest', 'lguest (hardware_subarch 1)'],
  ])('is refused by the door of %s, %s, and why', (plugin, door, title) => {
    const { status, stdout, stderr } = run('--disk', image, '--plugin', plugin, '--entry', door);
    expect(stderr).toContain(
      `vm: PV2012: no ${door} door into disk.img (${title}: no ELF image inside (disk with a boot sector); it has bios)`,
    );
    expect(stdout).toBe('');
    expect(status).toBe(3);
  });

  it('needs its disk, and says so', () => {
    const { status, stderr } = run('--plugin', 'none');
    expect(stderr).toMatch(
      /^vm: PV2016: disk\.img is the image of a disk, .*: give the disk to start from as the first --disk$/m,
    );
    expect(status).toBe(3);
  });
});
