import { describe, expect, it } from 'vitest';
import { CALL_NAMES } from '../../packages/plugin-vmi/src/calls/numbers.ts';
import { xen as xenRom } from '../../packages/plugin-vmi/src/rom/images.ts';
import { Offset, patchedRom } from '../../packages/plugin-vmi/src/testing/patched-rom.ts';
import { runVmiGuest } from './vmi-guest.ts';

const text = (characters: string) => [...new TextEncoder().encode(characters), 0];

/** One letter a call: native, call, jump, no operation. */
const KEEPS = 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnjjnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn-nnnnnnnn';
const ON_XEN = 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnjjcccnnnnnnnnncnnnnnnnnnnnnnnnnn-ccccccnn';
const TRAPS = 'cccccccccccccccccccccccccccccccccjjccccccccccccccnnnnnnnnnnnncccccccccccnc';

describe.each([
  ['in tier 0', false],
  ['in tier 1, all code compiled into regions', { threshold: 1, batch: 1 }],
] as const)('a guest that activates VMI, %s', (_tier, regions) => {
  const engine = { hot: [], regions };

  it('keeps everything native with the ROM native', async () => {
    const { printed, end, counters } = await runVmiGuest('native', undefined, { engine });
    expect(printed).toContain('found Polyvisor native, API 3.0, ROM version 1.0, address space ends at 0xffffffff\n');
    expect(printed).toContain(`calls ${KEEPS}\n`);
    expect(printed).not.toContain('FAILED');
    expect(printed).toMatch(/^18\d checks, 0 failed$/m);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(counters.size).toBe(0);
  });

  it('makes every call with the ROM trap, and each reaches the plug-in', async () => {
    const { printed, end, counters } = await runVmiGuest('trap', undefined, { engine });
    expect(printed).toContain('found Polyvisor trap, API 3.0, ROM version 1.1, address space ends at 0xffbfffff\n');
    expect(printed).toContain(`calls ${TRAPS}\n`);
    expect(printed).not.toContain('FAILED');
    expect(printed).toMatch(/^27\d checks, 0 failed$/m);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    const silent = [...CALL_NAMES.values()].filter((name) => !counters.get(`call.${name}`));
    expect(silent).toEqual([]);
  });

  it('starts a second processor in a state of its own, which then has alarms of its own', async () => {
    const two = { engine, vcpus: 2, commandLine: 'processors' };
    const [direct, whole] = [
      await runVmiGuest('trap', undefined, two),
      await runVmiGuest('trap', undefined, { ...two, exits: 'all' }),
    ];
    expect(direct.printed).not.toContain('FAILED');
    expect(direct.printed).toMatch(/^29\d checks, 0 failed$/m);
    expect(direct.end.reason).toEqual({ kind: 'poweroff' });
    expect(direct.counters.get('ap.refused')).toBe(1);
    expect(whole.printed).toBe(direct.printed);
  });

  it('makes the calls of the interrupt flag and of page tables, among others, without an exit, and all as with one', async () => {
    const [direct, whole] = [
      await runVmiGuest('trap', undefined, { engine }),
      await runVmiGuest('trap', undefined, { engine, exits: 'all' }),
    ];
    expect(direct.printed).toBe(whole.printed);
    expect(direct.end).toEqual(whole.end);
    expect(new Map([...direct.counters].sort())).toEqual(new Map([...whole.counters].sort()));
    const calls = [...whole.counters].filter(([name]) => name.startsWith('call.') && name !== 'call.fault');
    const without = [
      'DisableInterrupts',
      'EnableInterrupts',
      'GetInterruptMask',
      'SetInterruptMask',
      'GetCR2',
      'RDTSC',
      'IRET',
      'SetPxE',
      'SetPxELong',
      'UpdatePxE',
      'UpdatePxELong',
      'InvalPage',
      'SetLazyMode',
      'GetCR0',
      'SetCR3',
    ];
    const made = (names: readonly string[]) => calls.filter(([name]) => names.includes(name.slice(5)));
    const sum = (list: readonly (readonly [string, number])[]) => list.reduce((total, [, count]) => total + count, 0);
    expect(made(without)).toHaveLength(without.length);
    expect(whole.traps).toBe(sum(calls));
    expect(direct.traps).toBeLessThan(whole.traps - sum(made(without)) / 2);
  });

  it('stands on the services of plug-in xen with the ROM xen', async () => {
    const { printed, end, counters } = await runVmiGuest('xen', undefined, { engine, commandLine: 'irq0' });
    expect(printed).toContain('found Polyvisor xen, API 3.0, ROM version 1.0, address space ends at 0xffffffff\n');
    expect(printed).toContain(`calls ${ON_XEN}\n`);
    expect(printed).not.toContain('FAILED');
    expect(printed).toMatch(/^2\d\d checks, 0 failed$/m);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    const calls = ['memory_op', 'hvm_op', 'event_channel_op', 'vcpu_op', 'sched_op'];
    expect(calls.filter((name) => !counters.get(`hypercall.${name}`))).toEqual([]);
    expect([...counters.keys()].filter((name) => name.startsWith('call.'))).toEqual([]);
  });
});

it('a guest keeps its native code where the ROM xen finds no Xen', async () => {
  const rom = Uint8Array.from(atob(xenRom), (character) => character.charCodeAt(0));
  const { printed, end } = await runVmiGuest('alone.rom', new Map([['alone.rom', rom]]));
  expect(printed).toContain('refused: VMI_Init failed\n');
  expect(end.reason).toEqual({ kind: 'poweroff' });
});

it.each(['native', 'trap', 'xen'])('a guest that reboots does so under the ROM %s', async (rom) => {
  const { end } = await runVmiGuest(rom, undefined, { commandLine: rom === 'xen' ? 'irq0 reboot' : 'reboot' });
  expect(end.reason).toEqual({ kind: 'reboot' });
});

it('what means nothing to VMI is counted', async () => {
  const { counters } = await runVmiGuest('trap');
  const refused = [...counters].filter(([name]) => name.startsWith('refused.'));
  expect(Object.fromEntries(refused)).toEqual({
    'refused.APICRead': 1,
    'refused.APICWrite': 1,
    'refused.AllocatePage': 5,
    'refused.CancelAlarm': 1,
    'refused.FlushTLB': 1,
    'refused.GetCycleCounter': 1,
    'refused.Reboot': 1,
    'refused.ReleasePage': 2,
    'refused.SetAlarm': 3,
    'refused.SetIOPLMask': 1,
    'refused.SetInitialAPState': 2,
    'refused.SetLazyMode': 1,
    'refused.SetLinearMapping': 3,
    'refused.SetPxE': 5,
    'refused.SetPxELong': 1,
    'refused.WriteGDTEntry': 2,
    'refused.WriteIDTEntry': 1,
  });
  expect(counters.get('mmu.deferred')).toBe(3);
});

describe('a ROM that the guest refuses', () => {
  it.each([
    ['of API 4', { [Offset.API_MAJOR]: [4] }, 'its API is not 3.x'],
    ['without a licence', { [Offset.LICENCE]: [0, 0] }, 'its licence is not the GPL'],
    ['under another licence', { [Offset.LICENCE_TEXT]: text('BSD') }, 'its licence is not the GPL'],
    ['without a PCI data structure', { [Offset.PCI]: [0, 0] }, 'it has no PCI data structure'],
  ])('%s', async (_what, changes, reason) => {
    const { printed, end, counters } = await runVmiGuest('own.rom', new Map([['own.rom', patchedRom(changes)]]));
    expect(printed).toBe(`ROM at 0x000c8000 refused: ${reason}\nno VMI ROM\n`);
    expect(end.reason).toEqual({ kind: 'poweroff' });
    expect(counters.size).toBe(0);
  });
});

it('a licence that is the GPL by another name is accepted', async () => {
  const rom = patchedRom({ [Offset.LICENCE_TEXT]: text('GPL') });
  const { printed } = await runVmiGuest('own.rom', new Map([['own.rom', rom]]));
  expect(printed).toMatch(/^18\d checks, 0 failed$/m);
});
