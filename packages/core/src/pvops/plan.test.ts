import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OpChoice, OpsSlot, OpsTable } from './model.ts';
import { opsFor, planInstall } from './plan.ts';

const slot = (name: string, index: number): OpsSlot => ({
  ...{ index, name, heldIn: 'table', group: 'mmu', namedBy: 'types', prototype: undefined, convention: 'c' },
});
const SLOTS = ['mmu.write_cr3', 'mmu.flush_tlb_multi', 'mmu.exit_mmap', 'mmu.set_pte'].map(slot);
const own = (implementation: string): OpChoice<string> => ({ kind: 'own', implementation });
const table = (ops: Record<string, OpChoice<string>>): OpsTable<string> => ({ name: 'mine', version: '1.0.0', ops });

describe('an install plan', () => {
  const some = table({ 'mmu.write_cr3': own('mine'), 'mmu.exit_mmap': 'nop', 'mmu.set_pte': 'unwanted' });

  it('that is an overlay leaves what is forgotten as it is', () => {
    const { ops } = planInstall(SLOTS, some, 'overlay');
    expect(ops.map(({ state }) => state)).toEqual(['own', 'forgotten', 'nop', 'unwanted']);
    expect(ops[0]).toMatchObject({ slot: SLOTS[0], implementation: 'mine' });
  });

  it('that is strict is refused with the names of those that are forgotten', () => {
    expect(() => planInstall(SLOTS, some, 'strict')).toThrow(
      expect.objectContaining({
        code: 'PV5002',
        message: expect.stringContaining('1 of 4 slots: mmu.flush_tlb_multi'),
      }),
    );
    const all = table({ ...some.ops, 'mmu.flush_tlb_multi': 'native' as const });
    expect(planInstall(SLOTS, all, 'strict').ops.map(({ state }) => state)).toEqual([
      'own',
      'native',
      'nop',
      'unwanted',
    ]);
  });

  it.each(['strict', 'overlay'] as const)('that names slots which do not exist is refused, %s', (mode) => {
    const stranger = table({ ...some.ops, 'mmu.fly': 'nop', constructor: 'nop' as const });
    expect(() => planInstall(SLOTS, stranger, mode)).toThrow(
      expect.objectContaining({ code: 'PV5001', message: expect.stringContaining('mmu.fly, constructor') }),
    );
  });

  it('does for each slot what the table says, and for no other', () => {
    const choice = fc.constantFrom<OpChoice<string>>('native', 'nop', 'unwanted', own('x'));
    const names = fc.uniqueArray(fc.constantFrom(...SLOTS.map(({ name }) => name), 'toString'));
    fc.assert(
      fc.property(names, fc.infiniteStream(choice), (chosen, choices) => {
        const [known, ops] = [chosen.filter((name) => name !== 'toString'), new Map<string, OpChoice<string>>()];
        for (const name of known) ops.set(name, choices.next().value as OpChoice<string>);
        const plan = planInstall(SLOTS, table(Object.fromEntries(ops)), 'overlay');
        for (const { slot: planned, state } of plan.ops) {
          const said = ops.get(planned.name);
          expect(state).toBe(said === undefined ? 'forgotten' : typeof said === 'string' ? said : said.kind);
        }
      }),
    );
  });
});

describe('a module for kernels of several kinds', () => {
  const ops = { [SLOTS[1].name]: 1, stranger: 2 };

  it('has what there are slots for, if it says so', () => {
    expect(opsFor(SLOTS, { ops, whereThere: true })).toEqual({ [SLOTS[1].name]: 1 });
    expect(opsFor(SLOTS, { ops })).toBe(ops);
  });

  it('is refused by name where there are none', () => {
    const none = { stranger: 'nop', other: 'nop' } as const;
    const left = opsFor(SLOTS, { ops: none, whereThere: true });
    expect(() => planInstall(SLOTS, table(left), 'overlay')).toThrow(/stranger, other/);
  });
});
