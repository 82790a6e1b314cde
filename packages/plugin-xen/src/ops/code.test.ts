import type { CodePlace } from '@polyvisor/plugin-api';
import { describe, expect, it } from 'vitest';
import { assemble, at, label, to, toLabel } from './code.ts';
import { ops } from './index.ts';

const place = (wordBytes: 4 | 8): CodePlace => ({
  ...{ wordBytes, address: 0x1000n, previous: 0x5000n, native: 0x6000n, trap: 0x2000n, data: 0x4000n },
  cells: { interruptsOff: 0x3000n, interruptWaits: 0x3001n, cr2: 0x3008n },
});
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
/** An operation's code at a place. */
function codeOf(slot: string, wordBytes: 4 | 8): string {
  const op = ops.ops[slot];
  if (typeof op !== 'object') throw new Error(`${slot} has no code`);
  return hex(op.code(place(wordBytes)));
}

describe('code for a place', () => {
  it('reaches memory from RIP in 64-bit code, absolutely in 32-bit code, and branches from RIP in both', () => {
    const pieces = [[0x80, 0x3d], at(0x3000n, 1), [0], [0xe9], to(0x2000n)];
    expect(hex(assemble(place(8), pieces))).toBe('803df91f000000e9f40f0000');
    expect(hex(assemble(place(4), pieces))).toBe('803d0030000000e9f40f0000');
  });
});

describe('labels', () => {
  it('are reached before and behind them', () => {
    const pieces = [[0xeb], toLabel('end'), label('start'), [0x90], label('end'), [0xeb], toLabel('start')];
    expect(hex(assemble(place(8), pieces))).toBe('eb0190ebfd');
  });

  it('are refused where they are not there or too far away', () => {
    expect(() => assemble(place(8), [[0xeb], toLabel('end')])).toThrow(/end is out of reach/);
    const far = [[0xeb], toLabel('end'), Array(128).fill(0x90), label('end')];
    expect(() => assemble(place(8), far)).toThrow(/end is out of reach/);
  });
});

describe('xen-ops', () => {
  it.each([
    ['irq.irq_disable', 8, 'c605f91f000001c3'],
    ['irq_disable', 4, 'c6050030000001c3'],
    ['mmu.read_cr2', 8, '488b0501200000c3'],
    ['read_cr2', 4, '8b0508300000c3'],
    ['mmu.set_pte', 8, '488937c3'],
    ['set_pte', 4, '8948048910c3'],
    ['mmu.write_cr3', 8, 'e9fb0f0000'],
    ['flush_tlb_local', 4, 'e9fb0f0000'],
    [
      'time.sched_clock',
      8,
      '488b0df92f00000f3148c1e2204809d04829c8483b05ee2f0000731d480faf05ec2f000048c1e81c480305e92f0000483b0dca2f000075c8c3e9c20f0000',
    ],
    [
      'time.sched_clock',
      4,
      '8b0d004000000f3129c81b1504400000752a3b05084000007322f725104000000facd01cc1ea1c03051840000013151c4000003b0d0040000075c5c3e9bf0f0000',
    ],
  ] as const)('%s in %d bytes a word is %s', (slot, wordBytes, code) => {
    expect(codeOf(slot, wordBytes)).toBe(code);
  });
});
