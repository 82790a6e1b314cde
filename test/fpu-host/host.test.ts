import { describe, expect, test } from 'vitest';
import type { EncodingRow } from '../../packages/core/src/isa/encodings/row.ts';
import { sseEncodings } from '../../packages/core/src/isa/encodings/sse.ts';
import { x87Encodings } from '../../packages/core/src/isa/encodings/x87.ts';
import { assemble, evaluateRow, type RowUse } from './evaluate-row.ts';
import { type FpuAnswer, type FpuRequest, type FpuState, hostRefusal, runOnHost } from './host-fpu.ts';
import { EDGES_64, Inputs } from './random.ts';

const CASES_PER_ROW = 40;
const refusal = hostRefusal();

interface Trial {
  readonly use: RowUse;
  readonly request: FpuRequest;
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const image16 = (image: Uint8Array, at: number) => new DataView(image.buffer, image.byteOffset).getUint16(at, true);

/** The signal that Linux makes of an exception: #XM and #MF are SIGFPE, #GP is SIGSEGV, #UD SIGILL. */
const SIGNALS: Record<number, number> = { 6: 4, 13: 11, 16: 8, 19: 8 };

/** What must be equal, in words; memory and general registers only where the instruction completed. */
function describeState(state: FpuState, signal: number, flags: number | undefined): Record<string, string | number> {
  const { image } = state;
  return {
    signal,
    control: image16(image, 0),
    status: image16(image, 2),
    tag: image[4],
    mxcsr: new DataView(image.buffer, image.byteOffset).getUint32(24, true),
    st: Array.from({ length: 8 }, (_, i) => hex(image.subarray(32 + i * 16, 42 + i * 16))).join(' '),
    xmm: hex(image.subarray(160, 416)),
    ...(signal
      ? {}
      : { rax: state.rax.toString(16), memory: hex(state.memory), ...(flags === undefined ? {} : { flags }) }),
  };
}

function compare({ use, request }: Trial, host: FpuAnswer): void {
  const mine = evaluateRow(use, request);
  const signal = mine.outcome.kind === 'fault' ? SIGNALS[mine.outcome.vector] : 0;
  const flags = /COMI/.test(use.row.mnemonic);
  const got = describeState(mine.state, signal, flags ? mine.flags : undefined);
  const wanted = describeState(host, host.signal, flags ? Number(host.rflags & 0x8d5n) : undefined);
  // After a signal the x87 part of what the kernel hands over is its own.
  const note = `${use.row.name} ${use.memory ? 'mem' : `reg st${use.st}`} ${hex(Uint8Array.from(request.code))} ${hex(request.image)} ${hex(request.memory)}`;
  expect(got, note).toEqual(wanted);
}

function sseTrial(row: EncodingRow, inputs: Inputs): Trial {
  const canMemory = row.mod === 'any' && row.operandCodes.some(({ letter }) => letter === 'E' || letter === 'W');
  const use: RowUse = {
    row,
    st: 0,
    memory: row.mod === 'mem' || (canMemory && inputs.oneIn(3)),
    wide: row.operandCodes.some(({ size }) => size === 'y') && inputs.oneIn(2),
    immediate: inputs.oneIn(2) ? inputs.below(256) : inputs.below(20),
  };
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint32(24, mxcsr(inputs), true);
  for (let i = 0; i < 16; i++) inputs.vector(view, 160 + i * 16);
  const memory = new Uint8Array(128);
  const memoryView = new DataView(memory.buffer);
  for (let i = 0; i < 8; i++) inputs.vector(memoryView, i * 16);
  if (row.mnemonic === 'LDMXCSR') memoryView.setUint32(0, inputs.oneIn(3) ? inputs.u32() : mxcsr(inputs), true);
  if (/^PS[LR]/.test(row.mnemonic)) view.setBigUint64(176, BigInt(inputs.below(70)), true);
  const rax = inputs.pick([inputs.u64(), BigInt(inputs.below(1000)), 1n << 63n, (1n << 53n) + 1n, 0x1000001n]);
  return { use, request: { code: assemble(use), rax, memory, image } };
}
/** Default mostly; sticky flags, other roundings, DAZ, FTZ and unmasked exceptions among them. */
function mxcsr(inputs: Inputs): number {
  let value = 0x1f80;
  if (inputs.oneIn(2)) value |= inputs.below(64);
  if (inputs.oneIn(3)) value |= inputs.u32() & 0xe040;
  if (inputs.oneIn(6)) value &= ~(inputs.u32() & 0x1f80);
  return value;
}

function x87Trial(row: EncodingRow, inputs: Inputs): Trial {
  const use: RowUse = { row, memory: row.mod === 'mem', wide: false, st: inputs.below(8), immediate: 0 };
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  let control = 0x37f;
  if (inputs.oneIn(2)) control = (control & ~0xf00) | (inputs.u32() & 0xf00);
  if (inputs.oneIn(5)) control &= ~inputs.below(64);
  let status = inputs.u32() & 0x7f00;
  if (inputs.oneIn(2)) status |= inputs.below(128) & (inputs.oneIn(10) ? 127 : control | 64);
  if (status & ~control & 0x3f) status |= 0x8080;
  view.setUint16(0, control, true);
  view.setUint16(2, status, true);
  const allButLast = ~(1 << (((status >> 11) + 7) & 7)) & 255;
  view.setUint8(4, inputs.pick([255, 255, allButLast, allButLast, inputs.below(256)]));
  view.setUint32(24, 0x1f80, true);
  for (let i = 0; i < 8; i++) {
    const [significand, signExponent] = inputs.extended();
    view.setBigUint64(32 + i * 16, significand, true);
    view.setUint16(40 + i * 16, signExponent, true);
  }
  const memory = x87Memory(row, inputs);
  return { use, request: { code: assemble(use), rax: inputs.u64(), memory, image } };
}
function x87Memory(row: EncodingRow, inputs: Inputs): Uint8Array {
  const memory = new Uint8Array(128);
  const view = new DataView(memory.buffer);
  for (let i = 0; i < 8; i++) inputs.vector(view, i * 16);
  const [significand, signExponent] = inputs.extended();
  if (inputs.oneIn(3)) {
    view.setBigUint64(0, inputs.oneIn(2) ? significand : inputs.pick(EDGES_64), true);
    view.setUint16(8, signExponent, true);
  }
  const digit = () => inputs.below(10);
  if (row.mnemonic === 'FBLD')
    for (let i = 0; i < 10; i++) memory[i] = i === 9 ? inputs.below(2) << 7 : digit() * 16 + digit();
  return memory;
}

function run(rows: readonly EncodingRow[], make: (row: EncodingRow, inputs: Inputs) => Trial): void {
  const inputs = new Inputs(1);
  const trials = rows.flatMap((row) => Array.from({ length: CASES_PER_ROW }, () => make(row, inputs)));
  const answers = runOnHost(trials.map(({ request }) => request));
  trials.forEach((trial, i) => compare(trial, answers[i]));
}

/** Approximations, images and addresses of their own: tested elsewhere. */
const NOT_COMPARED = /^(RCP|RSQRT|FXSAVE|FXRSTOR|MASKMOVDQU|FNSAVE|FNSTENV)/;
const TRANSCENDENTAL = /^(FSIN|FCOS|FSINCOS|FPTAN|FPATAN|F2XM1|FYL2X|FYL2XP1)$/;

describe.skipIf(refusal !== undefined)(`against the host's processor${refusal ? ` (skipped: ${refusal})` : ''}`, () => {
  test('SSE and SSE2: results, flags and #XM', () => {
    run(
      sseEncodings.filter(({ mnemonic }) => !NOT_COMPARED.test(mnemonic)),
      sseTrial,
    );
  });

  test('x87: results, stack, status and #MF', () => {
    run(
      x87Encodings.filter(({ mnemonic }) => !NOT_COMPARED.test(mnemonic) && !TRANSCENDENTAL.test(mnemonic)),
      x87Trial,
    );
  });

  test('x87 transcendental functions: within a few units in the last place', () => {
    const inputs = new Inputs(2);
    const rows = x87Encodings.filter(({ mnemonic }) => TRANSCENDENTAL.test(mnemonic));
    const trials = rows.flatMap((row) => Array.from({ length: CASES_PER_ROW }, () => ordinaryTrial(row, inputs)));
    runOnHost(trials.map(({ request }) => request)).forEach((host, i) => {
      const { state } = evaluateRow(trials[i].use, trials[i].request);
      for (const st of [0, 1]) {
        const distance = asInteger(state.image, st) - asInteger(host.image, st);
        expect(
          distance >= -2n && distance <= 2n,
          `${trials[i].use.row.name} st${st} ${hex(trials[i].request.image.subarray(32, 64))}`,
        ).toBe(true);
      }
    });
  });
});

/** All masked, nearest, extended precision; arguments in the functions' ranges. */
function ordinaryTrial(row: EncodingRow, inputs: Inputs): Trial {
  const trial = x87Trial(row, inputs);
  const view = new DataView(trial.request.image.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint16(2, 0, true);
  view.setUint8(4, 0x7f);
  const small = /^(F2XM1|FYL2XP1)$/.test(row.mnemonic);
  const sign = row.mnemonic === 'FYL2X' ? 0 : inputs.below(2) << 15;
  view.setBigUint64(32, (1n << 63n) | inputs.u64(), true);
  view.setUint16(40, sign | (small ? 0x3ff0 + inputs.below(13) : 0x3ff0 + inputs.below(60)), true);
  view.setBigUint64(48, (1n << 63n) | inputs.u64(), true);
  view.setUint16(56, (inputs.below(2) << 15) | (0x3ff0 + inputs.below(40)), true);
  return trial;
}
function asInteger(image: Uint8Array, st: number): bigint {
  const view = new DataView(image.buffer, image.byteOffset);
  return (BigInt(view.getUint16(40 + st * 16, true)) << 64n) | view.getBigUint64(32 + st * 16, true);
}
