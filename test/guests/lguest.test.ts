/** The plug-in lguest-like with a guest of our own (guests/lguest): each ABI, each call, each rule that can be broken. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { BlockBackend, NetworkBackend } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import lguest from '../../packages/plugin-lguest-like/src/index.ts';
import { machineInProcess } from './in-process.ts';

const file = readFileSync(path.join(import.meta.dirname, '../../guests/lguest/prebuilt/lguest.elf'));
const ERAS = ['2.6.25', '2.6.30', '2.6.31', '2.6.35', '3.1', '4.1'];
/** The first call of these two looks like that of another one. */
const NAMED = ['2.6.24', ...ERAS, '4.0'];

function disk(): { backend: BlockBackend; content: Uint8Array } {
  const content = new Uint8Array(2048).fill('d'.charCodeAt(0));
  const fits = (offset: number, sizeBytes: number) => offset + sizeBytes <= content.length;
  const backend: BlockBackend = {
    name: 'disk',
    sizeBytes: content.length,
    readOnly: false,
    read: (offset, into) => {
      if (fits(offset, into.length)) into.set(content.subarray(offset, offset + into.length));
      return fits(offset, into.length);
    },
    write: (offset, bytes) => {
      if (fits(offset, bytes.length)) content.set(bytes, offset);
      return fits(offset, bytes.length);
    },
    flush: () => true,
  };
  return { backend, content };
}

async function run(commandLine: string, options: Record<string, string> = {}, image = file) {
  const { backend, content } = disk();
  const sent: Uint8Array[] = [];
  const nic: NetworkBackend = {
    mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
    mtu: 1500,
    send: (frame) => sent.push(frame),
    onReceive: () => {},
    resume: () => {},
  };
  const devices = {
    disks: [backend],
    nics: [nic],
    shares: [],
    entropy: { fill: (into: Uint8Array) => into.fill(0x5a) },
  };
  const plugins = [[lguest, options] as const];
  const { machine, console } = await machineInProcess({
    name: 'lguest.elf',
    file: image,
    commandLine,
    plugins,
    devices,
  });
  const { reason } = await machine.run();
  return { reason, output: console.output, content, sent };
}

describe('every call of an ABI', () => {
  it.each(ERAS)('%s, recognised by its first hypercall', async (era) => {
    const { reason, output, content, sent } = await run(`era=${era}`);
    expect(output).not.toMatch(/WRONG|unexpected/);
    expect(output).toMatch(new RegExp(`^lguest guest, ABI ${era.replaceAll('.', '\\.')}\n`));
    expect(output).toMatch(/lguest: all ok\n$/);
    expect(output.match(/^ok /gm)?.length).toBeGreaterThanOrEqual(40);
    expect([content[511], content[512], content[1023], content[1024]]).toEqual([100, 119, 119, 100]);
    expect(sent.map((frame) => frame.length)).toEqual([60]);
    expect(reason).toEqual({ kind: 'poweroff' });
  });

  it.each(NAMED)('%s, named', async (era) => {
    const { reason, output } = await run(`era=${era}`, { abi: era });
    expect(output).not.toMatch(/WRONG|unexpected/);
    expect(reason).toEqual({ kind: 'poweroff' });
  });

  it.each(['2.6.31', '2.6.35', '3.1', '4.1'])('%s, with the page tables of PAE', async (era) => {
    const { reason, output } = await run(`era=${era} pae=on`, { pae: 'on' });
    expect(output).not.toMatch(/WRONG|unexpected/);
    expect(reason).toEqual({ kind: 'poweroff' });
  });

  it('a kernel version is of the era that it lies in', async () => {
    expect((await run('era=2.6.31', { abi: '2.6.33' })).reason).toEqual({ kind: 'poweroff' });
    const { reason } = await run('era=2.6.31', { abi: '2.6.36' });
    expect(reason).toMatchObject({
      message: expect.stringContaining('VMCALL as first hypercall: kernels of ABI 2.6.35'),
    });
  });

  it('the ends are different results', async () => {
    expect((await run('era=2.6.31 end=restart')).reason).toEqual({ kind: 'reboot' });
    expect((await run('era=2.6.31 end=panic')).reason).toEqual({ kind: 'crash', message: 'CRASH: the guest panics' });
  });

  it.each([
    ['2.6.25', 'off'],
    ['2.6.30', 'off'],
    ['2.6.31', 'off'],
    ['2.6.31', 'on'],
    ['2.6.35', 'off'],
    ['3.1', 'on'],
  ])('%s, PAE %s: SET_PTE, FLUSH_ASYNC and page faults do not leave guest code, and do the same', async (era, pae) => {
    const commandLine = `era=${era}${pae === 'on' ? ' pae=on' : ''}`;
    const runs = [];
    for (const options of [{}, { exits: 'all' }] as const) {
      const plugins = [[lguest, { pae }] as const];
      const guest = { name: 'lguest.elf', file, commandLine, plugins, options };
      const { machine, console, counters } = await machineInProcess(guest);
      const { reason } = await machine.run();
      const exits = (kind: string) => Number(machine.stats()[`exit.${kind}`] ?? 0);
      runs.push({
        reason,
        output: console.output,
        counters: counters(),
        calls: exits('hypercall') + exits('softwareInterrupt'),
        faults: exits('exception.14'),
      });
    }
    const [{ calls: direct, faults, ...seen }, { calls: whole, faults: allFaults, ...expected }] = runs;
    // The first of each kind finds what is needed not at hand.
    expect(allFaults - faults).toBeGreaterThanOrEqual(3);
    expect(seen).toEqual(expected);
    expect(seen.reason).toEqual({ kind: 'poweroff' });
    const count = (call: string) => seen.counters.find(({ name }) => name === `hypercall.${call}`)?.count ?? 0;
    // Those that come while calls wait in the ring leave.
    expect(whole - direct).toBeGreaterThan(count('SET_PTE'));
    expect(whole - direct).toBeLessThanOrEqual(count('SET_PTE') + count('FLUSH_ASYNC'));
  });

  it('two runs are the same', async () => {
    expect((await run('era=3.1')).output).toBe((await run('era=3.1')).output);
  });
});

describe('a guest that breaks a rule is killed with the reason', () => {
  it.each([
    ['init-twice', 'already have lguest_data'],
    ['number', 'Bad hypercall 99'],
    ['gap', 'Bad hypercall 11'],
    ['number-in-ring', 'Bad hypercall 77'],
    ['gdt-entry', 'too many gdt entries 32'],
    ['idt-entry', 'Setting idt entry 256'],
    ['idt-type', 'bad IDT type 5'],
    ['stack-level', 'bad stack segment 104'],
    ['stack-pages', 'bad stack pages 3'],
    ['stack-page', 'bad stack page 0x7fffffff'],
    ['pgdir', 'bad page directory address 0xfffff000'],
    ['pgdir-odd', 'bad page directory address 0x100010'],
    ['pte', 'bad page table entry'],
    ['pte-large', 'bad page table entry'],
    ['pte-switcher', 'attempt to access switcher pages'],
    ['pgd', 'bad page directory entry'],
    ['pgd-flags', 'bad page directory entry'],
    ['pgd-silent', 'bad page directory entry'],
    ['pte-silent', 'bad page table entry (frame of 0xfff00000)'],
    ['pmd', 'SET_PMD from a kernel that was started without PAE'],
    ['tls', 'bad read address 0xffffffff len 24'],
    ['notify', 'Bad NOTIFY 0xfffffff0'],
    ['message', 'bad read address 0xffffffff len 1'],
    ['trap', 'unhandled trap 6 at 0xc0'],
    ['kernel-code', 'bad kernel code segment'],
    ['kernel-stack', 'Bad address 0x7ffffff4'],
  ])('%s: %s', async (rule, message) => {
    const { reason, output } = await run(`era=2.6.31 break=${rule}`);
    expect(output).not.toMatch(/WRONG|survived|no such rule/);
    expect(reason).toEqual({ kind: 'crash', message: expect.stringContaining(`lguest killed the guest: ${message}`) });
  });

  it.each([
    ['pdpte', 'bad page directory entry'],
    ['pdpte-new', 'bad page directory entry'],
    ['pmd-flags', 'bad page middle directory entry'],
    ['pmd-silent', 'bad page middle directory entry'],
    ['pte-high', 'bad page table entry'],
  ])('with PAE, %s: %s', async (rule, message) => {
    const { reason, output } = await run(`era=2.6.31 pae=on break=${rule}`, { pae: 'on' });
    expect(output).not.toMatch(/WRONG|survived|no such rule/);
    expect(reason).toEqual({ kind: 'crash', message: `lguest killed the guest: ${message}` });
  });

  it.each([
    ['before-init', {}, 'hypercall 10 before INIT'],
    ['bad-data', {}, 'names the lguest_data of no known ABI'],
    ['bad-data', { abi: '2.6.31' }, 'bad guest page 0xfffffff0'],
    ['other-way', { abi: '2.6.31' }, 'INT 0x1f as first hypercall: kernels of ABI 2.6.31'],
    ['bad-vector', { abi: '2.6.31' }, 'bad syscall vector'],
    ['bad-kernel-address', {}, 'bad kernel address 0xfff00000'],
  ])('in its first call, %s %j: %s', async (rule, options, message) => {
    const { reason } = await run(`era=2.6.31 first=${rule}`, options);
    expect(reason).toEqual({ kind: 'crash', message: expect.stringContaining(message) });
  });

  it.each(['index', 'head', 'loop', 'address'])('a ring that makes no sense: %s', async (how) => {
    const { reason } = await run(`era=2.6.35 queue=${how}`);
    const message = 'lguest killed the guest: it has broken a queue of virtio-console';
    expect(reason).toEqual({ kind: 'crash', message });
  });
});

describe('what is refused', () => {
  it.each([
    ['2.6.23', 'a bus of its own'],
    ['4.14', 'no lguest any more'],
    ['2.4.0', 'has no lguest'],
    ['new', 'no kernel version'],
  ])('abi:%s: %s', async (abi, why) => {
    await expect(run('', { abi })).rejects.toThrow(new RegExp(`abi:.*${why}`));
  });

  it('an option of pae that there is not', async () => {
    await expect(run('', { pae: 'yes' })).rejects.toThrow(/pae:yes/);
  });

  it('a kernel without lguest guest support', async () => {
    const without = Buffer.from(file);
    for (let at = without.indexOf('lguest\0'); at >= 0; at = without.indexOf('lguest\0', at + 1)) without[at] = 0x4c;
    await expect(run('', {}, without)).rejects.toThrow(/no lguest guest support.*CONFIG_LGUEST_GUEST/);
  });

  it('a kernel of 64 bits', async () => {
    const hello = readFileSync(path.join(import.meta.dirname, '../../guests/hello/prebuilt/hello.elf'));
    await expect(run('', {}, hello)).rejects.toThrow(/not a 32-bit x86 kernel/);
  });
});
