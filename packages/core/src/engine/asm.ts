import type { Slot } from '../cpu/state.ts';
import { ByteWriter, Op, ValType, VOID, type WasmType } from './wasm.ts';

/** A function body being written by hand: thin names over the opcodes, chained. */
export class Asm {
  readonly out = new ByteWriter();
  /** Where the `if`s stand that are hardly ever taken: offsets in {@link out}. */
  readonly unlikely: number[] = [];

  op(...opcodes: number[]): this {
    this.out.bytes(opcodes);
    return this;
  }
  get(local: number): this {
    this.out.byte(Op.localGet).u32(local);
    return this;
  }
  set(local: number): this {
    this.out.byte(Op.localSet).u32(local);
    return this;
  }
  tee(local: number): this {
    this.out.byte(Op.localTee).u32(local);
    return this;
  }
  i32(value: number): this {
    this.out.byte(Op.i32Const).s32(value);
    return this;
  }
  i64(value: bigint | number): this {
    this.out.byte(Op.i64Const);
    if (typeof value === 'number' && (value | 0) === value) this.out.s32(value);
    else this.out.s64(BigInt(value));
    return this;
  }
  /** A load or store with static offset; alignment hint 0 (any). */
  mem(opcode: number, offset: number): this {
    this.out.byte(opcode).byte(0).u32(offset);
    return this;
  }
  call(index: number): this {
    this.out.byte(Op.call).u32(index);
    return this;
  }
  if(result?: WasmType): this {
    this.out.byte(Op.if).byte(result ? ValType[result] : VOID);
    return this;
  }
  /** An `if` that is hardly ever taken. */
  unlikelyIf(result?: WasmType): this {
    this.unlikely.push(this.out.length);
    return this.if(result);
  }
  /** All that `other` holds, hints included. */
  append(other: Asm): this {
    for (const at of other.unlikely) this.unlikely.push(this.out.length + at);
    this.out.append(other.out);
    return this;
  }
  else(): this {
    this.out.byte(Op.else);
    return this;
  }
  end(): this {
    this.out.byte(Op.end);
    return this;
  }
  block(): this {
    this.out.byte(Op.block).byte(VOID);
    return this;
  }
  loop(): this {
    this.out.byte(Op.loop).byte(VOID);
    return this;
  }
  br(depth: number): this {
    this.out.byte(Op.br).u32(depth);
    return this;
  }
  brIf(depth: number): this {
    this.out.byte(Op.brIf).u32(depth);
    return this;
  }
  return(): this {
    this.out.byte(Op.return);
    return this;
  }
  /** Push a slot of the state block at host address `base`. */
  load(base: number, slot: Slot): this {
    return this.i32(0).mem(slot.type === 'i64' ? Op.i64Load : Op.i32Load, base + slot.offset);
  }
  /** Pop a value into a slot; `value` writes the code that pushes it. */
  store(base: number, slot: Slot, value: (a: Asm) => unknown): this {
    this.i32(0);
    value(this);
    return this.mem(slot.type === 'i64' ? Op.i64Store : Op.i32Store, base + slot.offset);
  }
}
