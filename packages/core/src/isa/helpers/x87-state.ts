/** The x87 unit's registers in a vCPU's state block. */
import { ARG, RESULT, X87, X87_CONTROL, X87_STATUS, X87_TAG } from '../../cpu/state.ts';
import { type Extended, INDEFINITE, type Result } from './extended.ts';
import { Flags } from './softfloat.ts';

/** Status word bits (SDM vol. 1, figure 8-4). The first six are the exception flags. */
export const Status = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  C3: 1 << 14,
  B: 1 << 15,
} as const;
export const EXCEPTION_FLAGS = 0x3f;
const TOP_SHIFT = 11;
/** Found before a result is computed: unmasked, they leave operands and stack as they are (SDM vol. 1, 8.4.1 … 8.6). */
const BEFORE_RESULT = Flags.invalid | Flags.denormal | Flags.divideByZero;

/** What FNINIT leaves in the control word: all masked, extended precision, nearest. */
export const INITIAL_CONTROL = 0x37f;
/** Control word bits that exist; bit 6 always reads as 1. */
const CONTROL_BITS = 0x1f3f;
const CONTROL_FIXED = 0x40;

/** One vCPU's x87 unit. Made for each helper call: it holds nothing itself. */
export class X87State {
  readonly #state: DataView;
  readonly #base: number;

  constructor(state: DataView, base: number) {
    this.#state = state;
    this.#base = base;
  }

  get control(): number {
    return this.#state.getInt32(this.#base + X87_CONTROL.offset, true);
  }
  /** Set the control word; reserved bits take their fixed values and the error summary follows the masks. */
  setControl(value: number): void {
    this.#state.setInt32(this.#base + X87_CONTROL.offset, (value & CONTROL_BITS) | CONTROL_FIXED, true);
    this.updateSummary();
  }
  /** Bring the control word's reserved bits and the error summary in order after raw writes. */
  normalize(): void {
    this.setControl(this.control);
  }
  get status(): number {
    return this.#state.getInt32(this.#base + X87_STATUS.offset, true);
  }
  set status(value: number) {
    this.#state.setInt32(this.#base + X87_STATUS.offset, value & 0xffff, true);
  }
  /** One bit per physical register: 1 = in use. */
  get tag(): number {
    return this.#state.getInt32(this.#base + X87_TAG.offset, true);
  }
  set tag(value: number) {
    this.#state.setInt32(this.#base + X87_TAG.offset, value & 0xff, true);
  }
  get top(): number {
    return (this.status >> TOP_SHIFT) & 7;
  }
  set top(value: number) {
    this.status = (this.status & ~(7 << TOP_SHIFT)) | ((value & 7) << TOP_SHIFT);
  }
  /** ES and B: an exception flag is set whose mask is clear. */
  updateSummary(): void {
    const pending = this.status & EXCEPTION_FLAGS & ~this.control;
    const rest = this.status & ~(Status.ES | Status.B);
    this.status = pending ? rest | Status.ES | Status.B : rest;
  }

  physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return (this.tag & (1 << this.physical(i))) === 0;
  }
  setInUse(i: number, inUse: boolean): void {
    const bit = 1 << this.physical(i);
    this.tag = inUse ? this.tag | bit : this.tag & ~bit;
  }
  /** ST(i), whether in use or not. */
  read(i: number): Extended {
    const at = this.#base + X87[this.physical(i)].offset;
    return { significand: this.#state.getBigUint64(at, true), signExponent: this.#state.getUint16(at + 8, true) };
  }
  /** Write ST(i) and mark it in use. */
  write(i: number, value: Extended): void {
    const at = this.#base + X87[this.physical(i)].offset;
    this.#state.setBigUint64(at, value.significand, true);
    this.#state.setUint16(at + 8, value.signExponent, true);
    this.setInUse(i, true);
  }
  pop(count: number): void {
    for (let i = 0; i < count; i++) {
      this.setInUse(0, false);
      this.top = this.top + 1;
    }
  }
  push(value: Extended): void {
    this.top = this.top - 1;
    this.write(0, value);
  }

  /** Change the condition codes named by `mask`. */
  setCodes(mask: number, value: number): void {
    this.status = (this.status & ~mask) | (value & mask);
  }
  /** Record exception flags. False: an unmasked one keeps the instruction from doing anything more. */
  raise(flags: number): boolean {
    const blocked = (flags & BEFORE_RESULT & ~this.control) !== 0;
    this.status |= blocked ? flags & (BEFORE_RESULT | Status.SF) : flags;
    this.updateSummary();
    return !blocked;
  }
  /** Record what an operation raised, C1 included; `write` puts its result in place unless that is suppressed (false). */
  complete(result: Result, write: (value: Extended) => void): boolean {
    const completes = this.raise(result.flags);
    this.setCodes(Status.C1, result.roundedUp && completes ? Status.C1 : 0);
    if (completes) write(result.value);
    return completes;
  }
  /** A register that should hold a value is empty: the masked response is the indefinite QNaN. */
  underflow(write: (value: Extended) => void): void {
    this.setCodes(Status.C1, 0);
    if (this.raise(Status.IE | Status.SF)) write(INDEFINITE);
  }
  /** A push onto a register in use. */
  overflow(write: (value: Extended) => void): void {
    this.setCodes(Status.C1, Status.C1);
    if (this.raise(Status.IE | Status.SF)) write(INDEFINITE);
  }

  argument(i: number): bigint {
    return this.#state.getBigUint64(this.#base + ARG[i].offset, true);
  }
  integerArgument(i: number): number {
    return this.#state.getInt32(this.#base + ARG[i].offset, true);
  }
  setResult(i: number, value: bigint): void {
    this.#state.setBigUint64(this.#base + RESULT[i].offset, BigInt.asUintN(64, value), true);
  }
}
