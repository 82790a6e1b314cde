import { describe, expect, test } from 'vitest';
import { FpuTrap, fpuTrapFor } from '../../packages/core/src/cpu/fpu-trap.ts';
import { sseEncodings } from '../../packages/core/src/isa/encodings/sse.ts';
import { x87Encodings } from '../../packages/core/src/isa/encodings/x87.ts';
import { evaluateRow, type RowUse } from './evaluate-row.ts';
import type { FpuState } from './host-fpu.ts';

/** Values by the manual, without the host. */

function use(name: string, more: Partial<RowUse> = {}): RowUse {
  const row = [...sseEncodings, ...x87Encodings].find((candidate) => candidate.name === name);
  if (!row) throw new Error(`no encoding ${name}`);
  return { row, memory: row.mod === 'mem', wide: false, st: 0, immediate: 0, ...more };
}

/** Registers 0 and 1 from 64-bit lanes, low first. */
function state({ mxcsr = 0x1f80, xmm0 = 0n, xmm1 = 0n, memory = new Uint8Array(512) } = {}): FpuState {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, mxcsr, true);
  view.setBigUint64(160, xmm0, true);
  view.setBigUint64(176, xmm1, true);
  return { rax: 0n, memory, image };
}
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset);
const lowDouble = ({ image }: FpuState) => view(image).getBigUint64(160, true);
const mxcsrOf = ({ image }: FpuState) => view(image).getUint32(24, true);

const ONE = 0x3ff0000000000000n;
const THREE = 0x4008000000000000n;
const INFINITY = 0x7ff0000000000000n;
const DEFAULT_NAN = 0xfff8000000000000n;

describe('SSE arithmetic (SDM vol. 1, 11.5 and table 4-7)', () => {
  test.each([
    ['SUBSD Vx,Wsd', INFINITY, INFINITY, DEFAULT_NAN, 0x1],
    ['MULSD Vx,Wsd', 0n, INFINITY, DEFAULT_NAN, 0x1],
    ['DIVSD Vx,Wsd', 0n, 0n, DEFAULT_NAN, 0x1],
    ['SQRTSD Vx,Wsd', 0n, ONE | (1n << 63n), DEFAULT_NAN, 0x1],
    ['DIVSD Vx,Wsd', ONE, 0n, INFINITY, 0x4],
    ['DIVSD Vx,Wsd', ONE, THREE, 0x3fd5555555555555n, 0x20],
    ['ADDSD Vx,Wsd', ONE, THREE, 0x4010000000000000n, 0],
    ['ADDSD Vx,Wsd', 0x7ff4000000000001n, 0x7ff8000000000002n, 0x7ffc000000000001n, 0x1],
    ['ADDSD Vx,Wsd', ONE, 1n, ONE, 0x22],
    ['MULSD Vx,Wsd', 0x7fe0000000000000n, THREE, INFINITY, 0x28],
    ['MINSD Vx,Wsd', 0n, 1n << 63n, 1n << 63n, 0],
    ['MAXSD Vx,Wsd', DEFAULT_NAN, ONE, ONE, 0x1],
  ])('%s of %s and %s', (name, xmm0, xmm1, wanted, flags) => {
    const { state: after } = evaluateRow(use(name), state({ xmm0, xmm1 }));
    expect(lowDouble(after).toString(16)).toBe(wanted.toString(16));
    expect(mxcsrOf(after)).toBe(0x1f80 | flags);
  });

  test('rounding, FTZ and DAZ follow MXCSR', () => {
    const divided = (mxcsr: number) =>
      lowDouble(evaluateRow(use('DIVSD Vx,Wsd'), state({ mxcsr, xmm0: ONE, xmm1: THREE })).state);
    expect(divided(0x5f80)).toBe(0x3fd5555555555556n);
    const tiny = { xmm0: 0x0010000000000000n, xmm1: 0x3fe0000000000000n };
    expect(lowDouble(evaluateRow(use('MULSD Vx,Wsd'), state({ mxcsr: 0x9f80, ...tiny })).state)).toBe(0n);
    expect(lowDouble(evaluateRow(use('ADDSD Vx,Wsd'), state({ mxcsr: 0x1fc0, xmm0: 1n, xmm1: 1n })).state)).toBe(0n);
  });

  test('an unmasked exception is #XM and leaves the destination', () => {
    const { state: after, outcome } = evaluateRow(use('DIVSD Vx,Wsd'), state({ mxcsr: 0x1d80, xmm0: ONE, xmm1: 0n }));
    expect(outcome).toMatchObject({ kind: 'fault', vector: 19 });
    expect(lowDouble(after)).toBe(ONE);
    expect(mxcsrOf(after)).toBe(0x1d84);
  });

  test('what does not fit an integer is the integer indefinite', () => {
    const { state: after } = evaluateRow(use('CVTTSD2SI Gy,Wsd'), state({ xmm1: 0x41e0000000000000n }));
    expect(after.rax).toBe(0x80000000n);
    expect(mxcsrOf(after)).toBe(0x1f81);
  });

  test('RCPSS and RSQRTSS are within 1.5 × 2^−12', () => {
    const bits = view(new Uint8Array(8));
    bits.setFloat32(0, 3.7, true);
    for (const [name, wanted] of [
      ['RCPSS Vx,Wss', 1 / 3.7],
      ['RSQRTSS Vx,Wss', 1 / Math.sqrt(3.7)],
    ] as const) {
      const { state: after } = evaluateRow(use(name), state({ xmm1: bits.getBigUint64(0, true) }));
      expect(Math.abs(view(after.image).getFloat32(160, true) / wanted - 1)).toBeLessThan(1.5 * 2 ** -12);
    }
  });
});

describe('availability and alignment', () => {
  test('FPU_TRAP by CR0 and CR4', () => {
    const [mp, em, ts, osfxsr] = [2n, 4n, 8n, 0x200n];
    expect(fpuTrapFor(mp, osfxsr)).toBe(0);
    expect(fpuTrapFor(ts, osfxsr)).toBe(FpuTrap.taskSwitched);
    expect(fpuTrapFor(mp | ts, osfxsr)).toBe(FpuTrap.taskSwitched | FpuTrap.wait);
    expect(fpuTrapFor(em, osfxsr)).toBe(FpuTrap.emulation | FpuTrap.sseDisabled);
    expect(fpuTrapFor(0n, 0n)).toBe(FpuTrap.sseDisabled);
  });

  test.each([
    ['PXOR Vx,Wx', FpuTrap.taskSwitched, 7],
    ['PXOR Vx,Wx', FpuTrap.sseDisabled | FpuTrap.taskSwitched, 6],
    ['FLD1', FpuTrap.taskSwitched, 7],
    ['FLD1', FpuTrap.emulation, 7],
    ['FNINIT', FpuTrap.emulation, 7],
    ['FXSAVE M', FpuTrap.taskSwitched, 7],
    ['FWAIT', FpuTrap.wait, 7],
  ])('%s under trap %s raises vector %s', (name, trap, vector) => {
    expect(evaluateRow(use(name), state(), trap).outcome).toMatchObject({ kind: 'fault', vector });
  });
  test.each([
    ['FLD1', FpuTrap.sseDisabled],
    ['FWAIT', FpuTrap.taskSwitched],
    ['FXSAVE M', FpuTrap.sseDisabled],
  ])('%s runs under trap %s', (name, trap) => {
    expect(evaluateRow(use(name), state(), trap).outcome.kind).toBe('next');
  });

  test('reserved MXCSR bits are #GP(0)', () => {
    const memory = new Uint8Array(512);
    memory[2] = 1;
    const { outcome, state: after } = evaluateRow(use('LDMXCSR Md'), state({ memory }));
    expect(outcome).toMatchObject({ kind: 'fault', vector: 13, errorCode: 0 });
    expect(mxcsrOf(after)).toBe(0x1f80);
  });
});

describe('FXSAVE and FXRSTOR (SDM vol. 1, table 10-2)', () => {
  test('the image lies as the manual says and comes back', () => {
    const before = state({ xmm0: ONE, xmm1: THREE });
    const image = view(before.image);
    image.setUint16(2, 3 << 11, true);
    image.setUint8(4, 0b00011000);
    for (let i = 0; i < 8; i++) image.setBigUint64(32 + i * 16, BigInt(i + 1), true);
    const saved = evaluateRow(use('FXSAVE M', { wide: true }), before).state.memory;
    expect(view(saved).getUint32(28, true)).toBe(0xffff);
    expect([...saved.subarray(0, 5)]).toEqual([0x7f, 3, 0, 0x18, 0b00011000]);
    expect(view(saved).getBigUint64(48, true)).toBe(2n);
    expect(view(saved).getBigUint64(176, true)).toBe(THREE);
    expect(saved.subarray(416).every((byte) => byte === 0)).toBe(true);
    const restored = evaluateRow(use('FXRSTOR M', { wide: true }), { ...state(), memory: saved }).state.image;
    expect(restored.subarray(0, 5)).toEqual(saved.subarray(0, 5));
    expect(restored.subarray(32, 416)).toEqual(saved.subarray(32, 416));
  });
});
