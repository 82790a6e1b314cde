import { fpuTrapFor } from '../../../packages/core/src/cpu/fpu-trap.ts';
import {
  CPL,
  CR0,
  CR4,
  EFER,
  EFLAGS_SYSTEM,
  FC,
  FPU_TRAP,
  FS,
  FZ,
  GPR,
  MXCSR,
  RIP,
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_FLOOR,
  SEGMENT_LIMIT,
  SEGMENT_READ_END,
  SEGMENT_SELECTOR,
  SEGMENT_WRITE_END,
  type Slot,
  X87,
  X87_CONTROL,
  X87_STATUS,
  X87_TAG,
  XCR0,
  XMM,
} from '../../../packages/core/src/cpu/state.ts';
import type { CaseMode, CpuImage } from '../case.ts';

const ARITHMETIC = 0x8d5;
const CF = 1,
  PF = 4,
  AF = 0x10,
  ZF = 0x40,
  SF = 0x80,
  OF = 0x800;

/** Control registers of a user-mode program under a 64-bit system with SSE and XSAVE. */
export const CR0_VALUE = 0x80050033n;
/** PAE, PGE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE. */
export const CR4_VALUE = 0x507a0n | (1n << 16n);
/** SCE, LME, LMA, NXE. */
export const EFER_VALUE = 0xd01n;

/** The oracle's selectors: Linux's flat user segments; FS and GS of compatibility mode from its LDT. */
const SELECTORS: Record<CaseMode, readonly number[]> = {
  long64: [0x2b, 0x33, 0x2b, 0x2b, 0, 0],
  flat32: [0x2b, 0x23, 0x2b, 0x2b, 0x07, 0x0f],
};
const ACCESS = { code64: 0xa0fb, code32: 0xc0fb, data: 0xc0f3 } as const;

/** A vCPU's state block, read and written as an image. */
export class StateBlock {
  readonly #view: DataView;
  readonly #base: number;

  constructor(view: DataView, base: number) {
    this.#view = view;
    this.#base = base;
  }
  #set32(slot: Slot, value: number): void {
    this.#view.setInt32(this.#base + slot.offset, value, true);
  }
  #get32(slot: Slot): number {
    return this.#view.getInt32(this.#base + slot.offset, true);
  }
  #set64(slot: Slot, value: bigint): void {
    this.#view.setBigUint64(this.#base + slot.offset, value, true);
  }
  #get64(slot: Slot): bigint {
    return this.#view.getBigUint64(this.#base + slot.offset, true);
  }
  #bytes(slot: Slot, count: number): Uint8Array {
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#base + slot.offset, count);
  }

  /** What no case changes: privilege, control registers, segments. */
  enterUserMode(mode: CaseMode): void {
    this.#set32(CPL, 3);
    this.#set64(CR0, CR0_VALUE);
    this.#set64(CR4, CR4_VALUE);
    this.#set64(EFER, EFER_VALUE);
    this.#set64(XCR0, 3n);
    this.#set32(FPU_TRAP, fpuTrapFor(CR0_VALUE, CR4_VALUE));
    const code = mode === 'long64' ? ACCESS.code64 : ACCESS.code32;
    for (let i = 0; i < 6; i++) {
      this.#set32(SEGMENT_SELECTOR[i], SELECTORS[mode][i]);
      this.#set32(SEGMENT_LIMIT[i], -1);
      this.#set32(SEGMENT_ACCESS[i], i === 1 ? code : ACCESS.data);
      this.#set64(SEGMENT_BASE[i], 0n);
      this.#set64(SEGMENT_FLOOR[i], 0n);
      this.#set64(SEGMENT_READ_END[i], 1n << 32n);
      this.#set64(SEGMENT_WRITE_END[i], i === 1 ? 0n : 1n << 32n);
    }
  }

  load(image: CpuImage): void {
    image.gpr.forEach((value, i) => this.#set64(GPR[i], value));
    this.#set64(RIP, image.rip);
    this.#set32(MXCSR, image.mxcsr);
    for (let i = 0; i < 16; i++) this.#bytes(XMM[i], 16).set(image.xmm.subarray(i * 16, i * 16 + 16));
    this.#set64(SEGMENT_BASE[4], image.fsBase);
    this.#set64(SEGMENT_BASE[5], image.gsBase);
    this.#set32(X87_CONTROL, image.x87Control);
    this.#set32(X87_STATUS, image.x87Status);
    this.#set32(X87_TAG, image.x87Tag);
    const top = (image.x87Status >> 11) & 7;
    for (let i = 0; i < 8; i++) this.#bytes(X87[(top + i) & 7], 10).set(image.st.subarray(i * 10, i * 10 + 10));
    this.#loadFlags(image.rflags);
  }

  #loadFlags(flags: number): void {
    const carry = flags & CF;
    const overflow = flags & OF ? 1 : 0;
    this.#set32(FC, (carry << 31) | ((carry ^ overflow) << 30) | (flags & AF ? 8 : 0));
    this.#set64(FZ, flags & ZF ? 0n : 1n);
    this.#set64(FS, (flags & SF ? 1n << 63n : 0n) | (flags & PF ? 0n : 1n));
    this.#set32(EFLAGS_SYSTEM, (flags & ~ARITHMETIC) | 2);
  }

  get rip(): bigint {
    return this.#get64(RIP);
  }
  set rip(value: bigint) {
    this.#set64(RIP, BigInt.asUintN(64, value));
  }

  read(): CpuImage {
    const xmm = new Uint8Array(256);
    const st = new Uint8Array(80);
    const x87Status = this.#get32(X87_STATUS);
    const top = (x87Status >> 11) & 7;
    for (let i = 0; i < 16; i++) xmm.set(this.#bytes(XMM[i], 16), i * 16);
    for (let i = 0; i < 8; i++) st.set(this.#bytes(X87[(top + i) & 7], 10), i * 10);
    return {
      gpr: GPR.map((slot) => this.#get64(slot)),
      rip: this.rip,
      rflags: this.#readFlags(),
      mxcsr: this.#get32(MXCSR),
      xmm,
      x87Control: this.#get32(X87_CONTROL),
      x87Status,
      x87Tag: this.#get32(X87_TAG),
      st,
      fsBase: this.#get64(SEGMENT_BASE[4]),
      gsBase: this.#get64(SEGMENT_BASE[5]),
    };
  }

  #readFlags(): number {
    const fc = this.#get32(FC);
    let parity = Number(this.#get64(FS) & 0xffn);
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    const flags =
      (fc < 0 ? CF : 0) |
      ((fc ^ (fc << 1)) < 0 ? OF : 0) |
      (fc & 8 ? AF : 0) |
      (this.#get64(FZ) === 0n ? ZF : 0) |
      (this.#get64(FS) >> 63n ? SF : 0) |
      (parity & 1 ? 0 : PF);
    return (this.#get32(EFLAGS_SYSTEM) & ~ARITHMETIC) | flags;
  }
}
