import type { AccessBytes, FlagSource } from '../../ir/types.ts';
import type { Asm } from '../asm.ts';
import { Op } from '../wasm.ts';
import type { RegisterSet } from './registers.ts';

/**
 * Something that flags come from and that can be had again: a constant, or `bytes` bytes of a general register from bit `shift` on as
 * long as nobody writes to it. What is the same is the same object; `id` tells it apart.
 */
export type FlagValue =
  | { readonly kind: 'constant'; readonly id: number; readonly value: bigint }
  | {
      readonly kind: 'register';
      readonly id: number;
      readonly register: number;
      readonly shift: number;
      readonly bytes: AccessBytes;
    };
/** AH, CH, DH and BH are 8 bits up. */
const registerValues = Array.from({ length: 128 }, (_, at): FlagValue => {
  const bytes = (1 << (at & 3)) as AccessBytes;
  return { kind: 'register', id: at + 1, register: at >> 3, shift: at & 4 ? 8 : 0, bytes };
});
export const registerValue = (register: number, shift: number, bytes: AccessBytes): FlagValue =>
  registerValues[register * 8 + (shift > 0 ? 4 : 0) + 31 - Math.clz32(bytes)];
const isIn = (value: FlagValue | undefined, register: number): boolean =>
  value !== undefined && value.kind === 'register' && value.register === register;
const isInSome = (value: FlagValue | undefined, registers: RegisterSet): boolean =>
  value !== undefined && value.kind === 'register' && (registers & (1 << value.register)) !== 0;

/** Which of the three can be had again; explicit flags: FS, FC, FZ. */
export interface FlagValues {
  readonly a: FlagValue | undefined;
  readonly b: FlagValue | undefined;
  readonly result: FlagValue | undefined;
}
export const NO_VALUES: FlagValues = { a: undefined, b: undefined, result: undefined };
/** What is left if a register gets another value. */
export function valuesWithout(values: FlagValues, register: number): FlagValues {
  const { a, b, result } = values;
  if (!isIn(a, register) && !isIn(b, register) && !isIn(result, register)) return values;
  return {
    a: isIn(a, register) ? undefined : a,
    b: isIn(b, register) ? undefined : b,
    result: isIn(result, register) ? undefined : result,
  };
}

/** What is known of the flags where code is being written; `unknown`: it depends on the way there, and they are carried. */
export type KnownFlags =
  | { readonly kind: 'unknown' }
  /** As in the state block. */
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'explicit'; readonly values: FlagValues }
  | ({ readonly kind: 'lazy'; readonly values: FlagValues } & Pick<FlagSource, 'operation' | 'width' | 'carryIn'>);
export type LazyFlags = Extract<KnownFlags, { kind: 'lazy' }>;

/** Locals with what flags come from. */
export interface CarriedLocals {
  /** i32: {@link FlagForm}, or {@link lazyForm}, or {@link FIRST_RECOVERED} and up. */
  readonly form: number;
  /** i64: operands of the lazy forms, zero-extended; explicit: FS, and FC zero-extended. */
  readonly a: number;
  readonly b: number;
  /** i64: result, sign-extended; explicit: FZ. */
  readonly result: number;
}

const PARTS = ['a', 'b', 'result'] as const;
type Part = (typeof PARTS)[number];

export const FlagForm = { unchanged: 0, explicit: 1 } as const;
/** + 2 · log2(width / 8) + (1 for subtraction). */
export const FIRST_LAZY = 2;
export function lazyForm({ operation, width }: Pick<FlagSource, 'operation' | 'width'>): number {
  // Logic is an addition of two zeros as far as carries go.
  if (operation === 'logic') return FIRST_LAZY + 2 * 3;
  return FIRST_LAZY + 2 * (Math.log2(width) - 3) + (operation === 'sub' ? 1 : 0);
}
/** From here on: by number of the {@link Recovery}. */
const FIRST_RECOVERED = FIRST_LAZY + 2 * 4;

/** `carried`: it is in its local; `derived`: it follows from the two others. */
type Origin = FlagValue | 'carried' | 'derived';
/** How flags are found again that were not carried along as a whole. */
interface Recovery {
  readonly form: number;
  readonly subtracts: boolean;
  readonly width: number;
  readonly a: Origin;
  readonly b: Origin;
  readonly result: Origin;
}

const ZERO: FlagValue = { kind: 'constant', id: 0, value: 0n };
/** Ids below this are of registers and {@link ZERO}; there are not that many constants in a region. */
const FIRST_CONSTANT = 256;
const IDS = 1 << 14;

/**
 * Flags on their way to where several ways meet. What they come from is carried along in locals, each of which costs a move on each
 * way, though most flags are overwritten unread and asked for only by an exception in between. So where that is so, and where what
 * they come from stays in the guest's registers as long, the way there notes how to find them again, and nothing else.
 */
export class CarriedFlags {
  readonly locals: CarriedLocals;
  readonly #asm: Asm;
  /** Local of a general register. */
  readonly #register: (register: number) => number;
  readonly #recoveries: Recovery[] = [];
  /** By {@link keyOf}. */
  readonly #numbers = new Map<number, number>();
  readonly #constants = new Map<bigint, FlagValue>();

  constructor(asm: Asm, locals: CarriedLocals, register: (register: number) => number) {
    this.#asm = asm;
    this.locals = locals;
    this.#register = register;
  }

  /** An operand that is always this: i64, zero-extended. */
  constant(value: bigint): FlagValue {
    let known = this.#constants.get(value);
    if (!known) {
      known = { kind: 'constant', id: FIRST_CONSTANT + this.#constants.size, value };
      this.#constants.set(value, known);
    }
    return known;
  }

  /** Take over flags from the locals where code that knows them has them. */
  take(known: KnownFlags, from: CarriedLocals): void {
    if (known.kind === 'unknown') return;
    this.#takeForm((a) => a.i32(formOf(known)));
    if (known.kind !== 'unchanged') for (const part of PARTS) this.#takePart(from, part);
  }
  /** The same for any form, which is in its local. */
  takeAll(from: CarriedLocals): void {
    this.#takeForm((a) => a.get(from.form));
    for (const part of PARTS) this.#takePart(from, part);
  }
  #takeForm(push: (a: Asm) => Asm): void {
    push(this.#asm).set(this.locals.form);
  }
  #takePart(from: CarriedLocals, part: Part): void {
    this.#asm.get(from[part]).set(this.locals[part]);
  }

  /**
   * As {@link take}, where nobody reads the flags but what leaves the region before they are overwritten, and where registers other than
   * those `written` stay as they are until then.
   */
  takeUnread(known: KnownFlags, from: CarriedLocals, written: RegisterSet): void {
    const recovery = recoveryOf(known, written);
    if (!recovery) {
      this.take(known, from);
      return;
    }
    this.#takeForm((a) => a.i32(FIRST_RECOVERED + this.#numberOf(recovery)));
    for (const part of PARTS) if (recovery[part] === 'carried') this.#takePart(from, part);
  }
  #numberOf(recovery: Recovery): number {
    const key = keyOf(recovery);
    let number = this.#numbers.get(key);
    if (number === undefined) this.#numbers.set(key, (number = this.#recoveries.push(recovery) - 1));
    return number;
  }

  /** Find again what was not carried along; afterwards the form is one of the plain ones. */
  recover(): void {
    const a = this.#asm;
    const recoveries = this.#recoveries;
    if (recoveries.length === 0) return;
    for (let i = 0; i <= recoveries.length; i++) a.block();
    a.get(this.locals.form).i32(FIRST_RECOVERED).op(Op.i32Sub);
    a.op(Op.brTable).out.u32(recoveries.length);
    for (let i = 0; i <= recoveries.length; i++) a.out.u32(i);
    recoveries.forEach((recovery, i) => {
      a.end();
      this.#recover(recovery);
      a.br(recoveries.length - i - 1);
    });
    a.end();
  }
  #recover(recovery: Recovery): void {
    const a = this.#asm;
    const l = this.locals;
    for (const part of PARTS) {
      const origin = recovery[part];
      if (origin === 'carried' || origin === 'derived') continue;
      // FS is signed.
      this.#push(origin, part === 'result' || recovery.form === FlagForm.explicit);
      a.set(l[part]);
    }
    const { subtracts, width } = recovery;
    if (recovery.result === 'derived') {
      a.get(l.a)
        .get(l.b)
        .op(subtracts ? Op.i64Sub : Op.i64Add);
      this.#extendSigned(width / 8);
      a.set(l.result);
    } else if (recovery.a === 'derived') {
      a.get(l.result)
        .get(l.b)
        .op(subtracts ? Op.i64Add : Op.i64Sub);
      this.#cut(width);
      a.set(l.a);
    } else if (recovery.b === 'derived') {
      a.get(subtracts ? l.a : l.result)
        .get(subtracts ? l.result : l.a)
        .op(Op.i64Sub);
      this.#cut(width);
      a.set(l.b);
    }
    a.i32(recovery.form).set(l.form);
  }
  #push(value: FlagValue, signed: boolean): void {
    const a = this.#asm;
    if (value.kind === 'constant') {
      a.i64(value.value);
      return;
    }
    a.get(this.#register(value.register));
    if (value.shift > 0) a.i64(value.shift).op(Op.i64ShrU);
    if (signed) this.#extendSigned(value.bytes);
    else this.#cut(value.bytes * 8);
  }
  #cut(width: number): void {
    if (width < 64) this.#asm.i64((1n << BigInt(width)) - 1n).op(Op.i64And);
  }
  #extendSigned(bytes: number): void {
    if (bytes < 8) this.#asm.op(bytes === 4 ? Op.i64Extend32S : bytes === 2 ? Op.i64Extend16S : Op.i64Extend8S);
  }
}

function formOf(known: Exclude<KnownFlags, { kind: 'unknown' }>): number {
  return known.kind === 'lazy' ? lazyForm(known) : FlagForm[known.kind];
}

/** The least that must be carried; undefined: nothing is gained. */
function recoveryOf(known: KnownFlags, written: RegisterSet): Recovery | undefined {
  if (known.kind !== 'lazy' && known.kind !== 'explicit') return undefined;
  const { values } = known;
  const a = isInSome(values.a, written) ? undefined : values.a;
  const b = isInSome(values.b, written) ? undefined : values.b;
  const result = isInSome(values.result, written) ? undefined : values.result;
  const form = formOf(known);
  if (known.kind === 'explicit' || (known.operation !== 'logic' && known.carryIn)) {
    if (!a && !b && !result) return undefined;
    return { form, subtracts: false, width: 64, a: a ?? 'carried', b: b ?? 'carried', result: result ?? 'carried' };
  }
  const { operation, width } = known;
  const subtracts = operation === 'sub';
  if (operation === 'logic') return { form, subtracts, width, a: ZERO, b: ZERO, result: result ?? 'carried' };
  if (result && !a) return { form, subtracts, width, a: 'derived', b: b ?? 'carried', result };
  if (result && a && !b) return { form, subtracts, width, a, b: 'derived', result };
  return { form, subtracts, width, a: a ?? 'carried', b: b ?? 'carried', result: 'derived' };
}

/** One number for each; the form says operation and width. */
const keyOf = ({ form, a, b, result }: Recovery): number =>
  ((idOf(a) * IDS + idOf(b)) * IDS + idOf(result)) * 16 + form;
const idOf = (origin: Origin): number =>
  origin === 'carried' ? FIRST_CONSTANT - 1 : origin === 'derived' ? FIRST_CONSTANT - 2 : origin.id;
