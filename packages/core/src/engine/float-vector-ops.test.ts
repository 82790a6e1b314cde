import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { floatOps } from '../ir/float-ops.ts';
import type { Evaluated, PureOp, ValueType } from '../ir/types.ts';
import { vectorOps } from '../ir/vector-ops.ts';
import { ByteWriter, ModuleBuilder, Op } from './wasm.ts';

/** Every record of the two tables, by the name that WebAssembly gives it. */
const records = [...Object.values(floatOps), ...Object.values(vectorOps)].flatMap(
  (group) => Object.values(group) as PureOp[],
);

const LOAD: Record<ValueType, number[]> = {
  i32: [0x28, 2, 0],
  i64: [0x29, 3, 0],
  f32: [0x2a, 2, 0],
  f64: [0x2b, 3, 0],
  v128: [0xfd, 0, 4, 0],
};
const STORE: Record<ValueType, number[]> = {
  i32: [0x36, 2, 0],
  i64: [0x37, 3, 0],
  f32: [0x38, 2, 0],
  f64: [0x39, 3, 0],
  v128: [0xfd, 11, 4, 0],
};
const RESULT_AT = 64;

/** Arguments at 0, 16, 32; the result goes to 64. */
function compile(op: PureOp, immediates: readonly number[]): { memory: DataView; run: () => void } {
  const module = new ModuleBuilder({ initial: 1, maximum: 1 });
  const body = new ByteWriter().byte(Op.i32Const).s32(RESULT_AT);
  op.params.forEach((type, i) =>
    body
      .byte(Op.i32Const)
      .s32(i * 16)
      .bytes(LOAD[type]),
  );
  body.bytes(op.wasm).bytes(immediates).bytes(STORE[op.result]);
  module.addFunction('run', { params: [], results: [] }, [], { out: body, unlikely: [] });
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.finish() as Uint8Array<ArrayBuffer>), {
    env: { memory },
  });
  return { memory: new DataView(memory.buffer), run: instance.exports.run as () => void };
}

function write(memory: DataView, at: number, value: Evaluated): void {
  if (value instanceof Uint8Array) for (let i = 0; i < 16; i++) memory.setUint8(at + i, value[i]);
  else if (typeof value === 'bigint') memory.setBigInt64(at, value, true);
  else memory.setInt32(at, value, true);
}
function read(memory: DataView, type: ValueType): Evaluated {
  if (type === 'v128') return Uint8Array.from({ length: 16 }, (_, i) => memory.getUint8(RESULT_AT + i));
  return type === 'i64' || type === 'f64' ? memory.getBigInt64(RESULT_AT, true) : memory.getInt32(RESULT_AT, true);
}

const EDGES_32 = [
  0, -0x80000000, 0x3f800000, -0x40800000, 0x7f800000, -0x800000, 1, 0x7fffff, 0x800000, 0x4f000000, -0x31000000,
  0x4b000001, -1, 0x7fff, 0x8000,
];
const EDGES_64 = [
  0n,
  -0x8000000000000000n,
  0x3ff0000000000000n,
  0x7ff0000000000000n,
  1n,
  0x41e0000000000000n,
  0x43e0000000000000n,
  -0x3c20000000000000n,
  0x3fe0000000000000n,
  0x4004000000000000n,
  0x20000000000001n,
  0x7fffffffffffffffn,
  0x36a0000000000000n,
  0x47efffffffffffffn,
];
const i32 = fc.oneof(fc.constantFrom(...EDGES_32), fc.integer({ min: -0x80000000, max: 0x7fffffff }));
const i64 = fc.oneof(fc.constantFrom(...EDGES_64), fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }));
const v128 = fc.oneof(
  fc.tuple(i32, i32, i32, i32).map((lanes) => new Uint8Array(Int32Array.from(lanes).buffer)),
  fc.tuple(i64, i64).map((lanes) => new Uint8Array(BigInt64Array.from(lanes).buffer)),
);
const ARBITRARY: Record<ValueType, fc.Arbitrary<Evaluated>> = { i32, i64, f32: i32, f64: i64, v128 };

/** Where a result has a NaN, only that it is one counts: its bits are the host's choice. */
function withoutNanBits(op: PureOp, value: Evaluated): string {
  const bytes = new Uint8Array(16);
  write(new DataView(bytes.buffer), 0, value);
  const view = new DataView(bytes.buffer);
  const single = op.name.startsWith('f32');
  if (!single && !op.name.startsWith('f64')) return bytes.join();
  const count = op.result === 'v128' ? (single ? 4 : 2) : 1;
  for (let i = 0; i < count; i++) {
    if (single && Number.isNaN(view.getFloat32(i * 4, true))) view.setUint32(i * 4, 0x7fc00000, true);
    if (!single && Number.isNaN(view.getFloat64(i * 8, true))) view.setFloat64(i * 8, Number.NaN, true);
  }
  return bytes.join();
}

function immediatesOf(op: PureOp): number[][] {
  if (!op.immediates) return [[]];
  if (op.immediates === 16) return [[0, 31, 2, 17, 4, 5, 30, 7, 16, 9, 10, 11, 1, 13, 14, 15]];
  const lanes = op.name.startsWith('i64') ? 2 : op.name.startsWith('i32') ? 4 : op.name.startsWith('i16') ? 8 : 16;
  return [[0], [lanes - 1]];
}

describe('floating-point and vector operations', () => {
  test.each(records.map((op) => [op.name, op] as const))('%s: the evaluator agrees with WebAssembly', (_, op) => {
    for (const immediates of immediatesOf(op)) {
      const { memory, run } = compile(op, immediates);
      fc.assert(
        fc.property(fc.tuple(...op.params.map((type) => ARBITRARY[type])), (args) => {
          args.forEach((value, i) => write(memory, i * 16, value));
          run();
          expect(withoutNanBits(op, op.evaluate(args, immediates))).toBe(withoutNanBits(op, read(memory, op.result)));
        }),
        { numRuns: 200, seed: 1 },
      );
    }
  });

  test('names are unique', () => {
    expect(new Set(records.map(({ name }) => name)).size).toBe(records.length);
  });
});
