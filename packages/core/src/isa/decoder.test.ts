import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GPR, PAGE_BASE, ZERO } from '../cpu/state.ts';
import { decode } from './decoder.ts';
import { type CpuMode, MODES } from './modes.ts';
import { compareWithObjdump } from './testing/objdump.ts';
import type { DecodedInstruction } from './types.ts';

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
const fetchFrom = (bytes: ArrayLike<number>) => (offset: number) => (offset < bytes.length ? bytes[offset] : -1);

function decoded(hex: string, mode: CpuMode = 'long64'): DecodedInstruction {
  const result = decode(fetchFrom(bytesOf(hex)), mode);
  if (!result.ok) throw new Error(`${hex}: ${result.reason}`);
  return { ...result.instruction };
}
function refused(hex: string, mode: CpuMode = 'long64'): string {
  const result = decode(fetchFrom(bytesOf(hex)), mode);
  return result.ok ? result.instruction.shape.key : result.reason;
}
const name = (hex: string, mode: CpuMode = 'long64') => decoded(hex, mode).shape.encoding.name;

describe('prefixes', () => {
  it('ignores ES CS SS DS overrides in 64-bit mode and keeps FS', () => {
    expect(decoded('3e 8b 03').segment).toBe(-1);
    expect(decoded('64 3e 8b 03').segment).toBe(4);
    expect(decoded('3e 8b 45 00', 'seg32').segment).toBe(3);
    expect(decoded('8b 45 00', 'seg32').segment).toBe(2);
  });
  it('counts REX only right before the opcode', () => {
    expect(decoded('48 66 89 c8').shape.operandWidth).toBe(16);
    expect(decoded('66 48 89 c8').shape.operandWidth).toBe(64);
  });
  it('allows LOCK with a memory destination of lockable instructions only', () => {
    expect(decoded('f0 01 03').shape.lock).toBe(true);
    expect(refused('f0 01 c3')).toBe('undefined');
    expect(refused('f0 03 03')).toBe('undefined');
    expect(refused('f0 89 03')).toBe('undefined');
    expect(refused('f0 39 03')).toBe('undefined');
    expect(refused('f0 90')).toBe('undefined');
  });
  it('refuses more than 15 bytes', () => {
    expect(refused(`${'66'.repeat(15)}90`)).toBe('tooLong');
    expect(decoded(`${'66'.repeat(14)}90`).lengthBytes).toBe(15);
    expect(refused(`${'66'.repeat(11)}81 05 00 00 00 00 00 00`)).toBe('tooLong');
  });
  it('asks for bytes that are not there', () => {
    expect(refused('')).toBe('fetch');
    expect(refused('48')).toBe('fetch');
    expect(refused('0f')).toBe('fetch');
    expect(refused('81 05 00 00')).toBe('fetch');
  });
  it('ignores REP where it means nothing and keeps it for strings', () => {
    expect(name('f3 c3')).toBe('RET');
    expect(decoded('f3 48 ab').shape.rep).toBe('rep');
    expect(decoded('f2 ae').shape.rep).toBe('repne');
    expect(name('f3 0f bc c1')).toBe('BSF Gv,Ev');
  });
});

describe('operands', () => {
  it('tells byte registers with and without REX', () => {
    expect(decoded('88 e0').reg).toBe(GPR[0].offset + 1);
    expect(decoded('40 88 e0').reg).toBe(GPR[4].offset);
    expect(decoded('0f b6 c4').rm).toBe(GPR[0].offset + 1);
  });
  it('uses base addressing without index and segment base', () => {
    expect(decoded('8b 43 10')).toMatchObject({ base: GPR[3].offset, dispLow: 16, segment: -1 });
    expect(decoded('8b 43 10').shape.key).toContain('mem4.base');
    expect(decoded('8b 04 8b').shape.key).toContain('mem4.full');
    expect(decoded('65 8b 03').shape.key).toContain('mem4.full');
  });
  it('looks at segments only where they are not flat', () => {
    expect(decoded('8b 03', 'flat32').shape.key).toContain('mem4.base');
    expect(decoded('36 8b 04 8b', 'flat32')).toMatchObject({ segment: -1 });
    expect(decoded('36 8b 04 8b', 'flat32').shape.key).toContain('mem4.full');
    for (const [prefix, segment] of [
      ['2e', 1],
      ['64', 4],
      ['65', 5],
    ] as const) {
      expect(decoded(`${prefix} 8b 03`, 'flat32')).toMatchObject({ segment });
      expect(decoded(`${prefix} 8b 03`, 'flat32').shape.key).toContain('mem4.checked');
    }
    for (const mode of ['seg32', 'seg32ss16', 'seg16', 'seg16ss32'] as const)
      expect(decoded('67 66 8b 45 00', mode).shape.key).toContain(
        'mem4.checked'.replace('4', mode < 'seg3' ? '4' : '2'),
      );
  });
  it('knows RIP-relative, absolute and index-less SIB forms', () => {
    expect(decoded('8b 05 f0 ff ff ff')).toMatchObject({
      ripRelative: true,
      base: PAGE_BASE.offset,
      dispLow: -16,
      dispHigh: -1,
    });
    expect(decoded('8b 04 25 78 56 34 12')).toMatchObject({
      ripRelative: false,
      base: ZERO.offset,
      index: ZERO.offset,
    });
    expect(decoded('8b 04 24')).toMatchObject({ base: GPR[4].offset, index: ZERO.offset });
    expect(decoded('42 8b 04 24').index).toBe(GPR[12].offset);
    expect(decoded('8b 05 78 56 34 12', 'flat32').ripRelative).toBe(false);
  });
  it('reads 16-bit addressing', () => {
    expect(decoded('67 8b 42 fe', 'seg32')).toMatchObject({
      base: GPR[5].offset,
      index: GPR[6].offset,
      dispLow: -2,
      segment: 2,
    });
    expect(decoded('67 8b 06 34 12', 'seg32')).toMatchObject({ base: ZERO.offset, dispLow: 0x1234, segment: 3 });
  });
  it('reads immediates of every size', () => {
    expect(decoded('48 b8 01 02 03 04 05 06 07 88')).toMatchObject({ immLow: 0x04030201, immHigh: 0x88070605 | 0 });
    expect(decoded('48 c7 c0 ff ff ff ff')).toMatchObject({ immLow: -1, immHigh: -1 });
    expect(decoded('48 a1 01 02 03 04 05 06 07 08')).toMatchObject({ dispLow: 0x04030201, dispHigh: 0x08070605 });
    expect(decoded('67 a1 ff ff ff ff')).toMatchObject({ dispLow: -1, dispHigh: 0 });
    expect(decoded('ea 01 02 03 04 05 06', 'flat32')).toMatchObject({ immLow: 0x04030201, immHigh: 0x0605 });
    expect(decoded('c8 34 12 45')).toMatchObject({ immLow: 0x1234, imm2: 5 });
  });
  it('bases POP to memory on the stack pointer after the pop', () => {
    expect(decoded('8f 44 24 04').dispLow).toBe(12);
    expect(decoded('66 8f 44 24 04').dispLow).toBe(6);
    expect(decoded('8f 43 04').dispLow).toBe(4);
  });
  it('treats 90 as NOP but for REX.B', () => {
    expect(name('90')).toBe('NOP');
    expect(name('f3 90')).toBe('PAUSE');
    expect(decoded('49 90')).toMatchObject({ reg: GPR[8].offset });
    expect(name('49 90')).toBe('XCHG Zv,rAX');
  });
  it('refuses registers that do not exist', () => {
    expect(refused('8e c8')).toBe('undefined');
    expect(refused('8e f0')).toBe('undefined');
    expect(refused('0f 20 c8')).toBe('undefined');
    expect(name('44 0f 20 c0')).toBe('MOV Rv,Cv');
    expect(decoded('0f 20 00').lengthBytes).toBe(3);
  });
});

describe('modes', () => {
  it('tells 64-bit mode from the others', () => {
    expect(refused('06')).toBe('undefined');
    expect(refused('27')).toBe('undefined');
    expect(name('27', 'flat32')).toBe('DAA');
    expect(name('40', 'flat32')).toBe('INC Zv');
    expect(name('63 c1')).toBe('MOVSXD Gv,Ez');
    expect(name('63 c1', 'flat32')).toBe('ARPL Ew,Gw');
  });
  it('knows 64-bit defaults', () => {
    expect(decoded('50').shape.operandWidth).toBe(64);
    expect(decoded('66 50').shape.operandWidth).toBe(16);
    expect(decoded('66 e8 00 00 00 00').shape.operandWidth).toBe(64);
    expect(decoded('66 e8 00 00', 'flat32').shape.operandWidth).toBe(16);
  });
});

describe('any bytes', () => {
  it('never throws and never answers more than 15 bytes', () => {
    const mode = fc.constantFrom<CpuMode>(...MODES);
    const prefix = fc.constantFrom(0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x64, 0x48, 0x41, 0x0f);
    const code = fc.tuple(fc.array(prefix, { maxLength: 4 }), fc.uint8Array({ maxLength: 16 }));
    fc.assert(
      fc.property(code, mode, ([prefixes, rest], cpuMode) => {
        const bytes = [...prefixes, ...rest];
        const result = decode(fetchFrom(bytes), cpuMode);
        if (!result.ok) return;
        expect(result.instruction.lengthBytes).toBeGreaterThan(0);
        expect(result.instruction.lengthBytes).toBeLessThanOrEqual(Math.min(15, bytes.length));
      }),
      { seed: 20240229, numRuns: 20_000 },
    );
  });
});

const BINARIES = ['/bin/busybox', '/usr/bin/perl', '/bin/bash', '/usr/bin/node'];
const hasObjdump = spawnSync('objdump', ['--version']).status === 0;
const binary = BINARIES.find((path) => existsSync(path));
const reason = !hasObjdump ? ' (skipped: no objdump)' : binary ? '' : ` (skipped: none of ${BINARIES.join(', ')})`;

describe(`against objdump${reason}`, () => {
  it.skipIf(reason !== '')('agrees on length and mnemonic over real code', { timeout: 120_000 }, () => {
    const command = 'objdump -d -w --insn-width=16 -j .text "$0" | head -n 320000';
    const { stdout } = spawnSync('sh', ['-c', command, binary as string], { encoding: 'utf8', maxBuffer: 1 << 28 });
    const { checked, disagreements } = compareWithObjdump(stdout, (bytes) => decode(fetchFrom(bytes), 'long64'));
    expect(disagreements.slice(0, 20)).toEqual([]);
    expect(checked).toBeGreaterThan(200_000);
  });
});
