import { Gpr, type PageFault, type Vcpu } from '@polyvisor/plugin-api';
import type { VmiGuest } from '../guest.ts';

/** An exception that the call raises in the guest. */
export class GuestFault extends Error {
  readonly vector: number;
  readonly page: PageFault | undefined;
  constructor(vector: number, page?: PageFault) {
    super(`exception ${vector}`);
    this.vector = vector;
    this.page = page;
  }
}
export const UNDEFINED_OPCODE = 6;
const PAGE_FAULT = 14;

const EAX = 2 * Gpr.RAX;
const ECX = 2 * Gpr.RCX;
const EDX = 2 * Gpr.RDX;
const ESP = 2 * Gpr.RSP;
/** Between the stack pointer at the trap and the caller's arguments: the call's number and the return address. */
const STACK_ARGUMENTS = 8;
const SUPERVISOR = { as: 'supervisor' } as const;

/**
 * A call at its trap. Arguments are where gcc's `regparm(3)` puts them, which is VMI's convention: EAX, EDX, ECX, then
 * the stack; results are in EAX, or EDX:EAX. All of it is the guest's: numbers of 32 bits without sign.
 */
export class Call {
  readonly guest: VmiGuest;
  readonly vcpu: Vcpu;
  readonly #words = new Int32Array(1);
  readonly #pair = new Int32Array(2);

  constructor(guest: VmiGuest, vcpu: Vcpu) {
    this.guest = guest;
    this.vcpu = vcpu;
  }

  get eax(): number {
    return this.vcpu.gprHalves[EAX] >>> 0;
  }
  get edx(): number {
    return this.vcpu.gprHalves[EDX] >>> 0;
  }
  get ecx(): number {
    return this.vcpu.gprHalves[ECX] >>> 0;
  }
  /** The n-th argument on the stack. @throws GuestFault */
  stack(n: number): number {
    return this.readWord(this.vcpu.gprHalves[ESP] + STACK_ARGUMENTS + 4 * n);
  }
  /** The number that the ROM has left on top of the stack. @throws GuestFault */
  number(): number {
    return this.readWord(this.vcpu.gprHalves[ESP]);
  }

  answer(value: number): void {
    const { gprHalves } = this.vcpu;
    gprHalves[EAX] = value;
    gprHalves[EAX + 1] = 0;
  }
  answer64(value: bigint): void {
    const { gprHalves } = this.vcpu;
    gprHalves[EAX] = Number(BigInt.asIntN(32, value));
    gprHalves[EDX] = Number(BigInt.asIntN(32, value >> 32n));
    gprHalves[EAX + 1] = 0;
    gprHalves[EDX + 1] = 0;
  }

  /** @throws GuestFault: the page fault that the access is */
  readWord(gva: number): number {
    if (!this.vcpu.readWords(gva, 0, this.#words, 1, SUPERVISOR)) this.readBytes(gva, 4);
    return this.#words[0] >>> 0;
  }
  /** @throws GuestFault */
  readBytes(gva: number, sizeBytes: number): Uint8Array {
    const found = this.vcpu.read(BigInt(gva >>> 0), sizeBytes, SUPERVISOR);
    if (!found.ok) throw new GuestFault(PAGE_FAULT, found.fault);
    return found.bytes;
  }
  /** Write words: all or none. @throws GuestFault */
  write(gva: number, ...words: number[]): void {
    if (words.length === this.#pair.length) {
      this.#pair.set(words);
      if (this.vcpu.writeWords(gva, 0, this.#pair, words.length, SUPERVISOR)) return;
    }
    const written = this.vcpu.write(BigInt(gva >>> 0), new Uint8Array(Int32Array.from(words).buffer), SUPERVISOR);
    if (!written.ok) throw new GuestFault(PAGE_FAULT, written.fault);
  }
  /** Where a write would go. @throws GuestFault */
  gpaToWrite(gva: number): number {
    const found = this.vcpu.translate(BigInt(gva >>> 0), 'write', SUPERVISOR);
    if (!found.ok) throw new GuestFault(PAGE_FAULT, found.fault);
    return found.gpa;
  }
}

/**
 * What a call does. It answers why it did nothing, if the arguments mean nothing to VMI: the guest is not told, since the
 * ABI has no errors. @throws GuestFault for what the processor would raise
 */
export type CallHandler = (call: Call) => string | undefined;
