/** The 32-bit demo guest: one file that comes through every 32-bit door, and tells who it runs under. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Plugin } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import lguest from '../../packages/plugin-lguest-like/src/index.ts';
import vmi from '../../packages/plugin-vmi/src/index.ts';
import xen from '../../packages/plugin-xen/src/index.ts';
import { machineInProcess } from './in-process.ts';

const file = readFileSync(path.join(import.meta.dirname, '../../guests/demo/prebuilt/demo32.elf'));
const PROMPT = 'demo> ';

type Loaded = readonly (readonly [Plugin, Readonly<Record<string, string>>?])[];
interface Door {
  readonly what: string;
  readonly entryName: string;
  readonly plugins: Loaded;
  /** What the guest says of its door and of who started it. */
  readonly door: string;
  /** What it reads in the boot descriptor. */
  readonly who: string;
}

// biome-ignore format: a table
const DOORS: readonly Door[] = [
  { what: 'natively, by Multiboot', entryName: 'multiboot1', plugins: [], door: 'native, started by a Multiboot loader', who: 'none, ABI 0.0, guest type multiboot1' },
  { what: 'natively, by its ELF header', entryName: 'elf', plugins: [], door: 'native, started by a loader of Linux', who: 'none, ABI 0.0, guest type elf' },
  { what: 'under the VMI ROM native', entryName: 'multiboot1', plugins: [[vmi, { rom: 'native' }]], door: 'vmi, started by Polyvisor native', who: 'vmi, ABI 3.0, guest type native' },
  { what: 'under the VMI ROM trap', entryName: 'multiboot1', plugins: [[vmi, { rom: 'trap' }]], door: 'vmi, started by Polyvisor trap', who: 'vmi, ABI 3.0, guest type native' },
  { what: 'under the VMI ROM xen', entryName: 'multiboot1', plugins: [[xen], [vmi, { rom: 'xen' }]], door: 'vmi, started by Polyvisor xen', who: 'vmi, ABI 3.0, guest type native' },
  { what: 'as Xen PV', entryName: 'pv', plugins: [[xen]], door: 'xen_pv, started by Xen 4.17', who: 'xen, ABI 4.17, guest type pv32' },
  { what: 'as Xen PVH', entryName: 'pvh', plugins: [[xen]], door: 'xen_pvh, started by Xen 4.17', who: 'xen, ABI 4.17, guest type pvh' },
  { what: 'under lguest', entryName: 'lguest', plugins: [[lguest]], door: "lguest, started by lguest's launcher", who: 'lguest, ABI 0.0, guest type pv32' },
];

async function run({ entryName, plugins }: Door, lines: readonly string[]) {
  const dialogue = { prompt: PROMPT, lines };
  const guest = { name: 'demo32.elf', file, commandLine: 'some words', plugins, entryName, dialogue };
  const { machine, console } = await machineInProcess(guest);
  const { reason } = await machine.run();
  return { reason, output: console.output.replaceAll('\r', '') };
}

describe.each(DOORS)('the 32-bit demo guest, $what', (through) => {
  it('is at its prompt, and every command works', async () => {
    const { reason, output } = await run(through, ['who', 'ops', 'time', 'mem', 'fault', 'poweroff']);
    expect(output).toContain(`door:    ${through.door}`);
    expect(output).toContain('options: some words\n');
    expect(output).toMatch(/^memory: {2}1[56]\d\d\d KiB$/m);
    expect(output).toContain(`hypervisor ${through.who}, data at 0x`);

    const name = through.door.slice(0, through.door.indexOf(','));
    const slots = output.match(new RegExp(`^  (\\w+) +0xc01[0-9a-f]{5}  ${name}_\\1: `, 'gm'));
    expect(slots).toHaveLength(13);

    expect(output).toMatch(/^clock +\d+\.\d{6} s$/m);
    expect(output).toMatch(/^wall clock +2023-11-14 22:13:2\d UTC$/m);
    expect(output).toMatch(/^timer +asked for 20 ms, came \d{1,3} us after that$/m);
    // Who has to measure the TSC is a little off.
    expect(output).toMatch(/^TSC +(999[5-9]\d\d|1000[0-4]\d\d) kHz$/m);

    expect(output).toMatch(/set_pte: page 0xc01[0-9a-f]{5} read aaaa in .*, aaaa back again: right$/m);

    expect(output).toContain('#PF page fault (vector 14), error code 0x2\n  write of 0x10, page not present\n');
    expect(output).toContain('#UD invalid opcode (vector 6), error code 0x0\n');
    expect(output).toContain('#GP general protection (vector 13), error code 0xfff8\n');
    expect(output).toContain('#DE divide error (vector 0), error code 0x0\n');
    expect(output.match(/^(pf|ud|gp|de): caught$/gm)).toHaveLength(4);
    expect(output).toMatch(/bye\n$/);
    expect(reason).toEqual({ kind: 'poweroff' });
  });

  it('loses nothing that is typed before it is there', async () => {
    const typedFirst = 'time\npoweroff\n';
    const guest = { name: 'demo32.elf', file, plugins: through.plugins, entryName: through.entryName, typedFirst };
    const { machine, console } = await machineInProcess(guest);
    const { reason } = await machine.run();
    expect(console.output).toMatch(/timer +asked for 20 ms/);
    expect(reason).toEqual({ kind: 'poweroff' });
  });

  it('ends by a reboot, and by a crash', async () => {
    expect((await run(through, ['reboot'])).reason).toEqual({ kind: 'reboot' });
    const { reason, output } = await run(through, ['fault fatal']);
    expect(output).toContain('nothing catches this: crashing\n');
    expect(reason.kind).toBe('crash');
  });
});

it("the 32-bit demo guest's loops compute what they must", async () => {
  const { output } = await run(DOORS[5], ['bench', 'poweroff']);
  expect(output.match(/^ {2}(integer|memory) .* {2}right$/gm)).toHaveLength(2);
  expect(output.match(/ x +\d+\.\d\d ns +\d+ cycles/g)).toHaveLength(7);
});
