import type { FlagSource } from '../../ir/types.ts';
import type { Asm } from '../asm.ts';
import { Op } from '../wasm.ts';
import type { RegisterSet } from './registers.ts';

/** Something that flags come from and that can be had again as long as nobody writes to the register. */
export type FlagValue =
  | { readonly kind: 'constant'; readonly value: bigint }
  /** `bytes` bytes of a general register from bit `shift` on. */
  | { readonly kind: 'register'; readonly register: number; readonly shift: number; readonly bytes: number };
/** Which of the three can be had again; explicit flags: FS, FC, FZ. */
export interface FlagValues {
  readonly a?: FlagValue;
  readonly b?: FlagValue;
  readonly result?: FlagValue;
}

/** What is known of the flags where code is being written; `unknown`: it depends on the way there, and they are carried. */
export type KnownFlags =
  | { readonly kind: 'unknown' }
  /** As in the state block. */
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'explicit'; readonly values: FlagValues }
  | ({ readonly kind: 'lazy'; readonly values: FlagValues } & Pick<FlagSource, 'operation' | 'width' | 'carryIn'>);
export type LazyFlags = Extract<KnownFlags, { kind: 'lazy' }>;

/** Locals in which the flags are that several ways lead to with their own. */
export interface CarriedLocals {
  /** i32: {@link FlagForm}, or {@link lazyForm}, or {@link FIRST_RECOVERED} and up. */
  readonly form: number;
  /** i64: operands of the lazy forms, zero-extended; explicit: FS, and FC zero-extended. */
  readonly a: number;
  readonly b: number;
  /** i64: result, sign-extended; explicit: FZ. */
  readonly result: number;
}

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

const ZERO: FlagValue = { kind: 'constant', value: 0n };

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
  readonly #recoveries = new Map<string, Recovery>();

  constructor(asm: Asm, locals: CarriedLocals, register: (register: number) => number) {
    this.#asm = asm;
    this.locals = locals;
    this.#register = register;
  }

  /** Take over flags from the locals where code that knows them has them. */
  take(known: KnownFlags, from: Omit<CarriedLocals, 'form'>): void {
    if (known.kind === 'unknown') return;
    this.#asm.i32(formOf(known)).set(this.locals.form);
    if (known.kind === 'unchanged') return;
    for (const part of ['a', 'b', 'result'] as const) this.#asm.get(from[part]).set(this.locals[part]);
  }

  /** The same where nobody reads them but what leaves the region, and where registers other than those `written` stay as they are until then. */
  takeUnread(known: KnownFlags, from: Omit<CarriedLocals, 'form'>, written: RegisterSet): void {
    const recovery = recoveryOf(known, written);
    if (!recovery) {
      this.take(known, from);
      return;
    }
    for (const part of ['a', 'b', 'result'] as const)
      if (recovery[part] === 'carried') this.#asm.get(from[part]).set(this.locals[part]);
    this.#asm.i32(this.#formOf(recovery)).set(this.locals.form);
  }
  #formOf(recovery: Recovery): number {
    const key = [recovery.form, ...[recovery.a, recovery.b, recovery.result].map(keyOf)].join();
    if (!this.#recoveries.has(key)) this.#recoveries.set(key, recovery);
    return FIRST_RECOVERED + [...this.#recoveries.keys()].indexOf(key);
  }

  /** Find again what was not carried along; afterwards the form is one of the plain ones. */
  recover(): void {
    const a = this.#asm;
    const recoveries = [...this.#recoveries.values()];
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
    for (const part of ['a', 'b', 'result'] as const) {
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
  const stays = (value: FlagValue | undefined) =>
    value?.kind === 'register' && written & (1 << value.register) ? undefined : value;
  const form = formOf(known);
  const [a, b, result] = [stays(known.values.a), stays(known.values.b), stays(known.values.result)];
  if (known.kind === 'explicit' || (known.operation !== 'logic' && known.carryIn)) {
    if (!a && !b && !result) return undefined;
    const all = { a: a ?? 'carried', b: b ?? 'carried', result: result ?? 'carried' } as const;
    return { form, subtracts: false, width: 64, ...all };
  }
  const { operation, width } = known;
  const rest = { form, subtracts: operation === 'sub', width };
  if (operation === 'logic') return { ...rest, a: ZERO, b: ZERO, result: result ?? 'carried' };
  if (result && !a) return { ...rest, a: 'derived', b: b ?? 'carried', result };
  if (result && !b) return { ...rest, a: a as FlagValue, b: 'derived', result };
  return { ...rest, a: a ?? 'carried', b: b ?? 'carried', result: 'derived' };
}

const keyOf = (origin: Origin): string =>
  typeof origin === 'string'
    ? origin
    : origin.kind === 'constant'
      ? `=${origin.value}`
      : `${origin.register}:${origin.shift}:${origin.bytes}`;
