/** What looks like a guest and cannot be started: one line, its own exit code, nothing left behind. */
import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { GuestSession } from './guest-session.ts';
import { bzImageOf, elfWithoutNotes } from './kernel-files.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-refusals-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = (name: string) => path.join(directory, name);

beforeAll(() => {
  const elf = elfWithoutNotes();
  writeFileSync(file('vmlinux'), elf);
  writeFileSync(file('bzImage'), bzImageOf(elf));
  writeFileSync(file('bzImage-gzip'), bzImageOf(gzipSync(elf)));
  writeFileSync(file('bzImage-cut'), bzImageOf(gzipSync(elf)).subarray(0, 1100));
  writeFileSync(file('bzImage-noise'), bzImageOf(Buffer.concat([gzipSync(elf).subarray(0, 20), Buffer.alloc(400, 7)])));
  writeFileSync(file('large.cpio'), '');
  truncateSync(file('large.cpio'), 100 << 20);
  writeFileSync(
    file('rival.mjs'),
    `export default { name: 'rival', version: '1.0.0', api: '^1.0',
      apply(host) { host.claim({ kind: 'cpuid', first: 0x40000000, last: 0x40000000 }); } };\n`,
  );
});

/** The failure's line, which is the last one; those before it say what has been recognised. */
async function refusal(...args: string[]) {
  const session = new GuestSession(...args);
  try {
    const { exitCode, stderr } = await session.ended();
    const lines = stderr.trimEnd().split('\n');
    expect(session.console).toBe('');
    return { exitCode, last: lines[lines.length - 1], others: lines.slice(0, -1) };
  } finally {
    await session.stop();
  }
}

const RECOGNISED = /^vm: [\w.-]+: (bzImage|ELF64)\b/;

describe('a kernel that plug-in xen has no door into', () => {
  it.each(['vmlinux', 'bzImage', 'bzImage-gzip'])('%s without Xen notes', async (name) => {
    const { exitCode, last, others } = await refusal(file(name), '--plugin', 'xen');
    expect(last).toMatch(/^vm: PV2012: no door into [\w-]+ \(.*no ELF notes of owner "Xen".*\): \S/);
    for (const line of others) expect(line).toMatch(RECOGNISED);
    expect(exitCode).toBe(3);
  });
});

it.each([
  ['lguest-like', 'lguest', 'lguest (hardware_subarch 1)'],
  ['vmi=rom:xen', 'multiboot1', 'Multiboot'],
])('several vCPUs where the door or the plug-in takes one: %s', async (plugin, entry, abi) => {
  const image = fileURLToPath(new URL('../../guests/demo/prebuilt/demo32.elf', import.meta.url));
  const { exitCode, last } = await refusal(image, '--plugin', plugin, '--entry', entry, '--cpus', '2');
  expect(last).toBe(`vm: PV2024: door ${entry} (${abi}) takes one vCPU alone, not 2: give another --cpus`);
  expect(exitCode).toBe(2);
});

it('a kernel that nothing here starts without a plug-in, and by a door that it does not have', async () => {
  const none = await refusal(file('vmlinux'), '--plugin', 'none');
  expect(none.last).toMatch(/^vm: PV2012: no door into vmlinux \(.*64-bit entry: no setup header.*\): .*--plugin/);
  const native = await refusal(file('vmlinux'), '--plugin', 'none', '--entry', 'native');
  expect(native.last).toMatch(/^vm: PV2012: no native door into vmlinux \(.*64-bit entry: no setup header.*\): \S/);
  const other = await refusal(file('bzImage'), '--plugin', 'none', '--entry', 'multiboot2');
  expect(other.last).toMatch(/^vm: PV2012: no multiboot2 door into bzImage \(Multiboot2: no header .*\): \S/);
  expect([none.exitCode, native.exitCode, other.exitCode]).toEqual([3, 3, 3]);
});

describe('a damaged bzImage', () => {
  it.each(['bzImage-cut', 'bzImage-noise'])('%s', async (name) => {
    const { exitCode, last, others } = await refusal(file(name), '--plugin', 'xen');
    expect(last).toMatch(/^vm: PV200\d: \S.*: \S/);
    expect(others).toEqual([]);
    expect(exitCode).toBe(3);
  });
});

describe('too little memory', () => {
  it('for the initrd', async () => {
    const { exitCode, last } = await refusal('demo', '--initrd', file('large.cpio'), '--memory', '64M');
    expect(last).toMatch(/^vm: PV4006: .* need 10\d MiB, the guest has 64 MiB: use --memory \d+M or more$/);
    expect(exitCode).toBe(3);
  });

  it('for the demo guest', async () => {
    const { exitCode, last } = await refusal('demo', '--memory', '1M');
    expect(last).toMatch(/^vm: PV4006: .* the guest has 1 MiB: use --memory \d+M or more$/);
    expect(exitCode).toBe(3);
  });
});

it('two plug-ins that claim one thing: both named', async () => {
  const { exitCode, last, others } = await refusal('demo', '--plugin', 'xen', '--plugin', file('rival.mjs'));
  expect(last).toMatch(/^vm: PV1009: .*\brival\b.*\bxen\b.*: \S/);
  expect(others).toEqual([]);
  expect(exitCode).toBe(2);
});

const { title, skipped } = await testsOf('debian', "Debian's kernel");

describe.skipIf(skipped)(title, () => {
  it('in 16 MB', async () => {
    const { exitCode, last, others } = await refusal('debian', '--plugin', 'xen', '--memory', '16M');
    expect(last).toMatch(/^vm: PV4006: .* the guest has 16 MiB: use --memory \d+M or more$/);
    for (const line of others) expect(line).toMatch(RECOGNISED);
    expect(exitCode).toBe(3);
  });
});

it('leaves nothing behind', () => {
  expect(readdirSync(directory).sort()).toEqual(
    ['bzImage', 'bzImage-cut', 'bzImage-gzip', 'bzImage-noise', 'large.cpio', 'rival.mjs', 'vmlinux'].sort(),
  );
});
