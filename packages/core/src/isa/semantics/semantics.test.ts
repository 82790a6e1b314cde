import { describe, expect, it } from 'vitest';
import { ARG, CPL, CR4, EFLAGS_SYSTEM, FC, FS, FZ, GDTR_BASE, GDTR_LIMIT, GPR, SEGMENT_BASE } from '../../cpu/state.ts';
import { INSTRUCTION_EXITS } from '../instruction-exit.ts';
import { CODE_ADDRESS, TestCpu } from '../testing/execute.ts';

const CF = 1n;
const AF = 16n;
const AH = (cpu: TestCpu) => (cpu.gpr(0) >> 8n) & 0xffn;

/** Flags as LAHF shows them: SF ZF AF PF CF. */
function lahf(cpu: TestCpu): bigint {
  cpu.run('9f');
  return AH(cpu);
}
function exitOf(cpu: TestCpu, hex: string): [name: string, ...args: bigint[]] {
  const outcome = cpu.run(hex);
  if (outcome.kind !== 'exit') throw new Error(`${hex}: ${outcome.kind}`);
  return [INSTRUCTION_EXITS[outcome.exit], ...ARG.map((slot) => cpu.get(slot))];
}

describe('decimal adjustment', () => {
  const cases = [
    ['27', 0x9an, 0x00n, CF | AF],
    ['27', 0x2en, 0x34n, AF],
    ['27', 0x12n, 0x12n, 0n],
    ['2f', 0x2en, 0x28n, AF],
    ['2f', 0xa0n, 0x40n, CF],
  ] as const;
  it.each(cases)('%s of %s', (hex, before, after, flags) => {
    const cpu = new TestCpu('flat32');
    cpu.set(FZ, 1);
    cpu.set(GPR[0], before);
    cpu.run(hex);
    expect(cpu.gpr(0) & 0xffn).toBe(after);
    expect(lahf(cpu) & (CF | AF)).toBe(flags);
  });
  it('splits and joins digits', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[0], 47);
    cpu.run('d4 0a');
    expect(cpu.gpr(0)).toBe(0x0407n);
    cpu.run('d5 0a');
    expect(cpu.gpr(0)).toBe(47n);
    expect(cpu.run('d4 00')).toMatchObject({ kind: 'fault', vector: 0 });
  });
  it('fills AL with the carry, and leaves the rest and the flags alone', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[0], 0x12345678);
    cpu.run('f9');
    cpu.run('d6');
    expect(cpu.gpr(0)).toBe(0x123456ffn);
    expect(lahf(cpu) & CF).toBe(CF);
    cpu.run('f8');
    cpu.run('d6');
    expect(cpu.gpr(0) & 0xffn).toBe(0n);
    expect(lahf(cpu) & CF).toBe(0n);
  });
  it('adjusts unpacked digits', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[0], 0x000f);
    cpu.run('37');
    expect(cpu.gpr(0)).toBe(0x0105n);
  });
});

describe('stack outside 64-bit mode', () => {
  it('pushes and pops all registers, rSP as it was before', () => {
    const cpu = new TestCpu('flat32');
    GPR.slice(0, 8).forEach((slot, i) => {
      cpu.set(slot, i === 4 ? 0x8000 : 0x100 + i);
    });
    cpu.run('60');
    expect(cpu.gpr(4)).toBe(0x7fe0n);
    expect(cpu.memory.getUint32(0x7fec, true)).toBe(0x8000);
    for (const i of [0, 1, 2, 3, 5, 6, 7]) cpu.set(GPR[i], 0);
    cpu.run('61');
    expect(GPR.slice(0, 8).map((_, i) => cpu.gpr(i))).toEqual([
      0x100n,
      0x101n,
      0x102n,
      0x103n,
      0x8000n,
      0x105n,
      0x106n,
      0x107n,
    ]);
  });
  it('writes nothing when one of the eight places faults', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[4], 0x8010);
    cpu.writableEnd = 0x8000n;
    expect(cpu.run('60')).toMatchObject({ kind: 'fault', vector: 14 });
    expect(cpu.gpr(4)).toBe(0x8010n);
    expect(cpu.memory.getUint32(0x7ff0, true)).toBe(0);
  });
});

describe('ENTER', () => {
  it('makes a frame with copies of the outer frame pointers', () => {
    const cpu = new TestCpu('long64');
    cpu.set(GPR[4], 0x8000);
    cpu.set(GPR[5], 0x9000);
    cpu.memory.setBigUint64(0x8ff8, 0x1111n, true);
    cpu.run('c8 20 00 02');
    expect(cpu.gpr(5)).toBe(0x7ff8n);
    expect(cpu.gpr(4)).toBe(0x7fe8n - 0x20n);
    expect([0x7ff8, 0x7ff0, 0x7fe8].map((at) => cpu.memory.getBigUint64(at, true))).toEqual([
      0x9000n,
      0x1111n,
      0x7ff8n,
    ]);
  });
});

describe('POPF', () => {
  const popf = (image: bigint, cpl: number, system = 0x202) => {
    const cpu = new TestCpu('long64');
    cpu.set(CPL, cpl);
    cpu.set(EFLAGS_SYSTEM, system);
    cpu.set(GPR[4], 0x8000);
    cpu.memory.setBigUint64(0x8000, image, true);
    return { cpu, outcome: cpu.run('9d') };
  };
  it('keeps IF and IOPL silently where the CPL does not allow them', () => {
    const { cpu, outcome } = popf(0x3cd5n, 3);
    expect(outcome.kind).toBe('next');
    expect(cpu.get(EFLAGS_SYSTEM)).toBe(0x602n);
    expect(cpu.gpr(4)).toBe(0x8008n);
    cpu.run('9c');
    expect(cpu.memory.getBigUint64(0x8000, true)).toBe(0xed7n);
  });
  it('leaves when TF, or an IF or IOPL that may change, does', () => {
    expect(popf(0x302n, 3).outcome.kind).toBe('exit');
    expect(popf(0x002n, 0).outcome.kind).toBe('exit');
    expect(popf(0x3202n, 0).outcome.kind).toBe('exit');
    expect(popf(0x002n, 1, 0x1202).outcome.kind).toBe('exit');
    const { cpu, outcome } = popf(0x602n, 0);
    expect(outcome.kind).toBe('next');
    expect(cpu.get(EFLAGS_SYSTEM)).toBe(0x602n);
  });
});

describe('exits', () => {
  it('carry what instruction-exit.ts says', () => {
    const cpu = new TestCpu('long64');
    cpu.set(GPR[0], 0x1234_5678n);
    cpu.set(GPR[2], 0x3f8);
    cpu.set(GPR[3], 0x2000);
    cpu.memory.setUint16(0x2000, 0x7f, true);
    cpu.memory.setBigUint64(0x2002, 0xffff_8000_0000_1000n, true);
    expect(exitOf(cpu, 'cd 80').slice(0, 2)).toEqual(['softwareInterrupt', 0x80n]);
    expect(exitOf(cpu, 'ee').slice(0, 3)).toEqual(['out', 0x3f8n, 1n]);
    expect(exitOf(cpu, 'e5 f0').slice(0, 3)).toEqual(['in', 0xf0n, 4n]);
    expect(exitOf(cpu, 'f3 64 6f').slice(0, 6)).toEqual(['outs', 0x3f8n, 4n, 64n, 4n, 1n]);
    expect(exitOf(cpu, '41 0f 20 da').slice(0, 3)).toEqual(['readCr', 3n, 10n]);
    expect(exitOf(cpu, '0f 22 d8').slice(0, 4)).toEqual(['writeCr', 3n, 0n, 0x1234_5678n]);
    expect(exitOf(cpu, '0f 01 13').slice(0, 3)).toEqual(['lgdt', 0x7fn, 0xffff_8000_0000_1000n]);
    expect(exitOf(cpu, '0f 01 3b').slice(0, 2)).toEqual(['invlpg', 0x2000n]);
    expect(exitOf(cpu, '8e d8').slice(0, 3)).toEqual(['loadSegment', 3n, 0x5678n]);
    expect(exitOf(cpu, '0f a1').slice(0, 3)).toEqual(['popSegment', 4n, 64n]);
    expect(exitOf(cpu, '48 cf').slice(0, 2)).toEqual(['iret', 64n]);
    expect(exitOf(cpu, 'ca 08 00').slice(0, 3)).toEqual(['farReturn', 32n, 8n]);
    cpu.memory.setUint16(0x2004, 0x33, true);
    const offset = BigInt(cpu.memory.getUint32(0x2000, true));
    expect(exitOf(cpu, '48 ff 2b').slice(0, 4)).toEqual(['farJump', 0x33n, offset, 64n]);
    expect(exitOf(cpu, '48 0f b4 0b').slice(0, 5)).toEqual(['loadFarPointer', 4n, 0x33n, offset, 1n]);
    expect(exitOf(cpu, '0f 02 c8').slice(0, 4)).toEqual(['lar', 0x5678n, 1n, 32n]);
  });
  it('take far pointers of compatibility mode from the instruction', () => {
    expect(exitOf(new TestCpu('flat32'), 'ea 78 56 34 12 33 00').slice(0, 4)).toEqual([
      'farJump',
      0x33n,
      0x12345678n,
      32n,
    ]);
  });
});

describe('system instructions inside the engine', () => {
  it('stores table registers', () => {
    const cpu = new TestCpu('long64');
    cpu.set(GDTR_BASE, 0xffff_8000_1234_5678n);
    cpu.set(GDTR_LIMIT, 0xff);
    cpu.set(GPR[0], 0x3000);
    cpu.run('0f 01 00');
    expect(cpu.memory.getUint16(0x3000, true)).toBe(0xff);
    expect(cpu.memory.getBigUint64(0x3002, true)).toBe(0xffff_8000_1234_5678n);
  });
  it('refuses FS base instructions without CR4.FSGSBASE and bases that are not canonical', () => {
    const cpu = new TestCpu('long64');
    expect(cpu.run('f3 48 0f ae d0')).toMatchObject({ kind: 'fault', vector: 6 });
    cpu.set(CR4, 1 << 16);
    cpu.set(GPR[0], 1n << 47n);
    expect(cpu.run('f3 48 0f ae d0')).toMatchObject({ kind: 'fault', vector: 13 });
    cpu.set(GPR[0], 0x7fff_0000_0000n);
    cpu.run('f3 48 0f ae d0');
    expect(cpu.get(SEGMENT_BASE[4])).toBe(0x7fff_0000_0000n);
  });
  it('raises #BR outside the bounds only', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[3], 0x2000);
    cpu.memory.setInt32(0x2000, -2, true);
    cpu.memory.setInt32(0x2004, 5, true);
    cpu.set(GPR[0], 0xfffffffe);
    expect(cpu.run('62 03').kind).toBe('next');
    cpu.set(GPR[0], 6);
    expect(cpu.run('62 03')).toMatchObject({ kind: 'fault', vector: 5 });
  });
  it('raises the RPL with ARPL', () => {
    const cpu = new TestCpu('flat32');
    cpu.set(GPR[0], 0x10);
    cpu.set(GPR[1], 0x1b);
    cpu.run('63 c8');
    expect(cpu.gpr(0)).toBe(0x13n);
    expect(cpu.get(FZ)).toBe(0n);
  });
});

describe('16-bit branches', () => {
  it('cut the target', () => {
    const cpu = new TestCpu('flat32');
    expect(cpu.run('66 e9 00 f0')).toEqual({ kind: 'jump', target: (CODE_ADDRESS + 4n + 0xf000n) & 0xffffn });
  });
});

describe('REP', () => {
  it('does one element and repeats, and nothing at all with a count of 0', () => {
    const cpu = new TestCpu('long64');
    cpu.set(GPR[7], 0x4000);
    cpu.set(GPR[1], 2);
    cpu.set(GPR[0], 0x41);
    expect(cpu.run('f3 aa').kind).toBe('repeat');
    expect(cpu.run('f3 aa').kind).toBe('next');
    expect([cpu.gpr(7), cpu.gpr(1)]).toEqual([0x4002n, 0n]);
    expect(cpu.run('f3 aa').kind).toBe('next');
    expect(cpu.gpr(7)).toBe(0x4002n);
    expect(cpu.memory.getUint16(0x4000, true)).toBe(0x4141);
  });
  it('stops at a difference and leaves the flags of the last element', () => {
    const cpu = new TestCpu('long64');
    cpu.set(GPR[7], 0x4000);
    cpu.set(GPR[1], 5);
    cpu.memory.setUint8(0x4000, 0);
    cpu.memory.setUint8(0x4001, 1);
    expect(cpu.run('f3 ae').kind).toBe('repeat');
    expect(cpu.run('f3 ae').kind).toBe('next');
    expect(cpu.gpr(1)).toBe(3n);
    expect(cpu.get(FZ)).not.toBe(0n);
    expect(cpu.get(FS) !== 0n && cpu.get(FC) !== 0n).toBe(true);
  });
});
