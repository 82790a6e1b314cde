import { FC, FS, FZ, type Slot } from '../../cpu/state.ts';
import type { FlagSource } from '../../ir/types.ts';
import type { Asm } from '../asm.ts';
import { Op } from '../wasm.ts';
import {
  type CarriedFlags,
  type CarriedLocals,
  FIRST_LAZY,
  FlagForm,
  type FlagValue,
  type FlagValues,
  type KnownFlags,
  type LazyFlags,
  lazyForm,
  NO_VALUES,
  valuesWithout,
} from './carried-flags.ts';
import type { RegisterSet } from './registers.ts';

/** Locals in which code that knows what the arithmetic flags come from keeps that. */
export interface FlagLocals extends CarriedLocals {
  readonly scratch: number;
}

/** FC's two upper flags, and AF. */
const CARRY_BITS = 0xc0000000 | 0;
const AUXILIARY = 8;

/** Condition codes without their negations, by code >> 1 (SDM vol. 2D, B.1.4.7). */
const Basic = { O: 0, B: 1, Z: 2, BE: 3, S: 4, P: 5, L: 6, LE: 7 } as const;

/**
 * The arithmetic flags in a region: what they come from is kept in locals, and they are computed where they are read or
 * where the region is left.
 */
export class RegionFlags {
  known: KnownFlags = { kind: 'unchanged' };
  readonly #asm: Asm;
  readonly #base: number;
  readonly #l: FlagLocals;
  readonly #carried: CarriedFlags;

  constructor(asm: Asm, base: number, locals: FlagLocals, carried: CarriedFlags) {
    this.#asm = asm;
    this.#base = base;
    this.#l = locals;
    this.#carried = carried;
  }

  /** Flags from now on come from this. `push` pushes operands zero-extended to i64, and the result; `values`: what can be had again. */
  setFrom(source: FlagSource, push: { a(): void; b(): void; extended(): void }, values: FlagValues): void {
    const { operation, width, carryIn } = source;
    const a = this.#asm;
    if (operation === 'logic') a.i64(0).set(this.#l.a).i64(0).set(this.#l.b);
    else {
      push.a();
      a.set(this.#l.a);
      push.b();
      a.set(this.#l.b);
    }
    push.extended();
    a.set(this.#l.result);
    a.i32(lazyForm(source)).set(this.#l.form);
    this.known = { kind: 'lazy', values, operation, width, carryIn };
  }

  /** One of FZ, FS and FC is set; {@link makeExplicit} or {@link replaceAll} must have come before. */
  setSlot(slot: Slot, push: () => void): void {
    push();
    const part = slot === FC ? 'b' : slot === FZ ? 'result' : 'a';
    if (part === 'b') this.#asm.op(Op.i64ExtendI32U);
    this.#asm.set(this.#l[part]);
    if (this.known.kind !== 'explicit') return;
    const { a, b, result } = this.known.values;
    const values = {
      a: part === 'a' ? undefined : a,
      b: part === 'b' ? undefined : b,
      result: part === 'result' ? undefined : result,
    };
    this.known = { kind: 'explicit', values };
  }
  /** All three slots will be set one by one, and what they were does not matter. */
  replaceAll(): void {
    this.#areExplicit(NO_VALUES);
  }
  #areExplicit(values: FlagValues): void {
    this.known = { kind: 'explicit', values };
    this.#asm.i32(FlagForm.explicit).set(this.#l.form);
  }

  /** As {@link CarriedFlags.constant}. */
  constant(value: bigint): FlagValue {
    return this.#carried.constant(value);
  }
  /** A general register gets another value. */
  registerWritten(register: number): void {
    const { known } = this;
    if (known.kind !== 'lazy' && known.kind !== 'explicit') return;
    const values = valuesWithout(known.values, register);
    if (values !== known.values) this.#setValues(known, values);
  }
  /** Registers may have got any. */
  registersChanged(): void {
    this.#setValues(this.known, NO_VALUES);
  }
  /** The result that the flags tell of lies in a register. */
  resultIsIn(place: FlagValue): void {
    const { known } = this;
    if (known.kind !== 'lazy' && known.kind !== 'explicit') return;
    const { a, b } = known.values;
    this.#setValues(known, { a: known.kind === 'lazy' ? a : place, b, result: place });
  }
  #setValues(known: KnownFlags, values: FlagValues): void {
    if (known.kind === 'explicit') this.known = { kind: 'explicit', values };
    if (known.kind !== 'lazy') return;
    const { operation, width, carryIn } = known;
    this.known = { kind: 'lazy', values, operation, width, carryIn };
  }

  /** Have the flags where they are looked for if they are unknown. What is known stays so. */
  carry(): void {
    this.#carried.take(this.known, this.#l);
  }
  /** The same for flags that are known, whatever their form. */
  carryKnown(): void {
    this.#carried.takeAll(this.#l);
  }
  /** As {@link CarriedFlags.takeUnread}. */
  carryUnread(written: RegisterSet): void {
    this.#carried.takeUnread(this.known, this.#l, written);
  }

  /** Bring the flags into the explicit form. */
  makeExplicit(): void {
    const a = this.#asm;
    const l = this.#l;
    const { known } = this;
    let values = NO_VALUES;
    switch (known.kind) {
      case 'explicit':
        return;
      case 'unchanged':
        this.#loadExplicit();
        break;
      case 'lazy':
        this.#pushLazyCarries(known);
        a.op(Op.i64ExtendI32U).set(l.b).get(l.result).set(l.a);
        values = { a: known.values.result, b: undefined, result: known.values.result };
        break;
      case 'unknown': {
        const { form, result } = this.#carried.locals;
        a.get(form).op(Op.i32Eqz).if();
        this.#loadExplicit();
        a.else();
        a.get(result).tee(l.result).set(l.a);
        a.get(form).i32(FlagForm.explicit).op(Op.i32Ne).if('i64');
        this.#pushCarriesByForm();
        a.op(Op.i64ExtendI32U);
        a.else().get(this.#carried.locals.a).set(l.a).get(this.#carried.locals.b).end();
        a.set(l.b).end();
      }
    }
    this.#areExplicit(values);
  }
  #loadExplicit(): void {
    const l = this.#l;
    this.#asm.load(this.#base, FZ).set(l.result).load(this.#base, FS).set(l.a);
    this.#asm.load(this.#base, FC).op(Op.i64ExtendI32U).set(l.b);
  }

  /** Push FZ, FS or FC. */
  pushSlot(slot: Slot): void {
    if (this.known.kind === 'unknown') this.makeExplicit();
    if (this.known.kind === 'unchanged') this.#asm.load(this.#base, slot);
    else if (slot === FZ) this.#asm.get(this.#l.result);
    else if (slot === FS) this.#asm.get(this.known.kind === 'explicit' ? this.#l.a : this.#l.result);
    else this.#pushCarries();
  }
  #pushCarries(): void {
    if (this.known.kind === 'lazy') this.#pushLazyCarries(this.known);
    else this.#asm.get(this.#l.b).op(Op.i32WrapI64);
  }

  /** Store FZ, FS and FC; code must be at a place where they are known. False: they are not. */
  storeKnown(): boolean {
    if (this.known.kind === 'unknown') return false;
    if (this.known.kind === 'unchanged') return true;
    for (const slot of [FZ, FS, FC]) this.#asm.store(this.#base, slot, () => this.pushSlot(slot));
    return true;
  }
  /** Store FZ, FS and FC as they are carried. */
  storeCarried(): void {
    const a = this.#asm;
    const l = this.#carried.locals;
    this.#carried.recover();
    a.get(l.form).if();
    a.store(this.#base, FZ, () => a.get(l.result));
    a.get(l.form).i32(FlagForm.explicit).op(Op.i32Eq).if();
    a.store(this.#base, FS, () => a.get(l.a));
    a.store(this.#base, FC, () => a.get(l.b).op(Op.i32WrapI64));
    a.else();
    a.store(this.#base, FS, () => a.get(l.result));
    a.store(this.#base, FC, () => this.#pushCarriesByForm());
    a.end().end();
  }

  /** Push bit vectors combined to the carries out of each bit: (a & b) | ((a | b) & ~result), operands as pushed. */
  #carries(b: number, pushA: () => void, pushNotResult: () => void): void {
    const a = this.#asm;
    pushA();
    a.get(b).op(Op.i64And);
    pushA();
    a.get(b).op(Op.i64Or);
    pushNotResult();
    a.op(Op.i64And, Op.i64Or);
  }

  #pushLazyCarries({ operation, width }: LazyFlags): void {
    const a = this.#asm;
    const l = this.#l;
    if (operation === 'logic') {
      a.i32(0);
      return;
    }
    const complement = (local: number) => a.get(local).i64(-1).op(Op.i64Xor);
    this.#carries(
      l.b,
      () => (operation === 'sub' ? complement(l.a) : a.get(l.a)),
      () => (operation === 'sub' ? a.get(l.result) : complement(l.result)),
    );
    if (width === 32) {
      a.op(Op.i32WrapI64);
      return;
    }
    a.tee(l.scratch);
    if (width === 64) a.i64(32).op(Op.i64ShrU, Op.i32WrapI64).i32(CARRY_BITS).op(Op.i32And);
    else
      a.op(Op.i32WrapI64)
        .i32(32 - width)
        .op(Op.i32Shl);
    a.get(l.scratch).op(Op.i32WrapI64).i32(AUXILIARY).op(Op.i32And, Op.i32Or);
  }

  #pushCarriesByForm(): void {
    const a = this.#asm;
    const l = this.#carried.locals;
    const { scratch } = this.#l;
    // All ones for a subtraction.
    const mask = () => a.i64(0).get(l.form).i32(1).op(Op.i32And, Op.i64ExtendI32U, Op.i64Sub);
    this.#carries(
      l.b,
      () => a.get(l.a).op() && mask().op(Op.i64Xor),
      () => a.get(l.result).op() && mask().i64(-1).op(Op.i64Xor, Op.i64Xor),
    );
    a.set(scratch);
    const atLeast = (width: 32 | 64) =>
      a
        .get(l.form)
        .i32(lazyForm({ operation: 'add', width }))
        .op(Op.i32GeS);
    atLeast(64).if('i32');
    a.get(scratch).i64(32).op(Op.i64ShrU, Op.i32WrapI64).i32(CARRY_BITS).op(Op.i32And);
    a.else().get(scratch).op(Op.i32WrapI64);
    // 24, 16 or 0 places.
    a.i32(0).i32(24);
    a.get(l.form).i32(FIRST_LAZY).op(Op.i32Sub).i32(1).op(Op.i32ShrU).i32(3).op(Op.i32Shl, Op.i32Sub);
    atLeast(32).op(Op.select, Op.i32Shl).end();
    a.get(scratch).op(Op.i32WrapI64).i32(AUXILIARY).op(Op.i32And, Op.i32Or);
  }

  /** Push a condition code's value: i32 0 or 1. */
  pushCondition(code: number): void {
    if (this.known.kind === 'unknown') this.makeExplicit();
    const basic = code >> 1;
    const { known } = this;
    if (known.kind !== 'lazy' || !this.#lazyCondition(known, basic)) this.#plainCondition(basic);
    if (code & 1) this.#asm.op(Op.i32Eqz);
  }

  /** Conditions that follow from operands and result more simply than from the flags. */
  #lazyCondition(known: LazyFlags, basic: number): boolean {
    const a = this.#asm;
    const { result } = this.#l;
    if (known.operation === 'logic') {
      if (basic === Basic.O || basic === Basic.B) a.i32(0);
      else if (basic === Basic.BE || basic === Basic.Z) a.get(result).op(Op.i64Eqz);
      else if (basic === Basic.L || basic === Basic.S) a.get(result).i64(0).op(Op.i64LtS);
      else if (basic === Basic.LE) a.get(result).i64(0).op(Op.i64LeS);
      else return false;
      return true;
    }
    if (basic === Basic.S) {
      a.get(result).i64(0).op(Op.i64LtS);
      return true;
    }
    if (known.carryIn) return false;
    if (known.operation === 'add') {
      if (basic !== Basic.B) return false;
      this.#compare(known.width, this.#l.result, this.#l.a, Op.i32LtU, Op.i64LtU);
      return true;
    }
    const comparison = COMPARISONS[basic];
    if (!comparison) return false;
    if (basic === Basic.Z && known.width < 32) a.get(result).op(Op.i64Eqz);
    else this.#compare(known.width, this.#l.a, this.#l.b, ...comparison);
    return true;
  }

  /** Compare the low `width` bits of two locals. */
  #compare(width: number, left: number, right: number, narrow: number, wide: number): void {
    const a = this.#asm;
    for (const local of [left, right]) {
      a.get(local);
      if (width < 64) a.op(Op.i32WrapI64);
      if (width < 32) a.i32(32 - width).op(Op.i32Shl);
    }
    a.op(width === 64 ? wide : narrow);
  }

  #plainCondition(basic: number): void {
    const a = this.#asm;
    switch (basic) {
      case Basic.O:
        this.#pushOverflow();
        return;
      case Basic.B:
        this.pushSlot(FC);
        a.i32(31).op(Op.i32ShrU);
        return;
      case Basic.Z:
        this.pushSlot(FZ);
        a.op(Op.i64Eqz);
        return;
      case Basic.BE:
        this.pushCondition(Basic.B << 1);
        this.pushCondition(Basic.Z << 1);
        a.op(Op.i32Or);
        return;
      case Basic.S:
        this.pushSlot(FS);
        a.i64(0).op(Op.i64LtS);
        return;
      case Basic.P:
        this.pushSlot(FS);
        a.op(Op.i32WrapI64).i32(0xff).op(Op.i32And, Op.i32Popcnt).i32(1).op(Op.i32And, Op.i32Eqz);
        return;
      case Basic.L:
        this.pushCondition(Basic.S << 1);
        this.pushCondition(Basic.O << 1);
        a.op(Op.i32Xor);
        return;
      default:
        this.pushCondition(Basic.Z << 1);
        this.pushCondition(Basic.L << 1);
        a.op(Op.i32Or);
    }
  }
  #pushOverflow(): void {
    const a = this.#asm;
    this.pushSlot(FC);
    a.op(Op.i64ExtendI32U).tee(this.#l.scratch).op(Op.i32WrapI64);
    a.get(this.#l.scratch).op(Op.i32WrapI64).i32(1).op(Op.i32Shl, Op.i32Xor).i32(31).op(Op.i32ShrU);
  }
}

/** Conditions after a subtraction as comparisons of its operands: for 32 and for 64 bits. */
const COMPARISONS: Partial<Record<number, readonly [narrow: number, wide: number]>> = {
  [Basic.B]: [Op.i32LtU, Op.i64LtU],
  [Basic.Z]: [Op.i32Eq, Op.i64Eq],
  [Basic.BE]: [Op.i32LeU, Op.i64LeU],
  [Basic.L]: [Op.i32LtS, Op.i64LtS],
  [Basic.LE]: [Op.i32LeS, Op.i64LeS],
};
