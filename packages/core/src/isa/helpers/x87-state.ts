/** The x87 unit's registers in a vCPU's state block. */
import { ARG, RESULT, X87, X87_CONTROL, X87_STATUS, X87_TAG } from '../../cpu/state.ts';

/** Status word bits (SDM vol. 1, figure 8-4). The first six are the exception flags. */
export const Status = {
  IE: 1 << 0, DE: 1 << 1, ZE: 1 << 2, OE: 1 << 3, UE: 1 << 4, PE: 1 << 5, SF: 1 << 6, ES: 1 << 7,
  C0: 1 << 8, C1: 1 << 9, C2: 1 << 10, C3: 1 << 14, B: 1 << 15,
} as const;
export const EXCEPTION_FLAGS = 0x3f;
const TOP_SHIFT = 11;

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
  /** Significand of ST(i), unsigned. */
  significand(i: number): bigint {
    return this.#state.getBigUint64(this.#base + X87[this.physical(i)].offset, true);
  }
  /** Sign (bit 15) and biased exponent of ST(i). */
  signExponent(i: number): number {
    return this.#state.getUint16(this.#base + X87[this.physical(i)].offset + 8, true);
  }
  /** Write ST(i) without touching its tag. */
  setBits(i: number, significand: bigint, signExponent: number): void {
    const at = this.#base + X87[this.physical(i)].offset;
    this.#state.setBigUint64(at, significand, true);
    this.#state.setUint16(at + 8, signExponent, true);
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
