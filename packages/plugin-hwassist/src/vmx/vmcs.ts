/** The virtual-machine control structure: a page of the machine's memory, whose format is the processor's own (SDM vol. 3C, 24.2). */
import type { DescriptorTable, GuestMemory, Segment } from '@polyvisor/plugin-api';
import {
  type FieldAccess,
  type NarrowField,
  VMCS_FIELDS,
  type VmcsField,
  type VmcsSegment,
  type WideField,
} from './fields.ts';

/** VMCS revision identifier: of the format below. */
export const VMCS_REVISION = 1;
export const VMCS_BYTES = 4096;
/** Of its first bytes: revision identifier and abort indicator are where the manual has them, the launch state is ours. */
const Offset = { REVISION: 0, ABORT: 4, LAUNCH_STATE: 8, FIELDS: 16 } as const;
const SLOT_BYTES = 8;
const LAUNCHED = 1;
const LOW = 0xffff_ffffn;

const OFFSETS = Object.fromEntries(
  Object.keys(VMCS_FIELDS).map((field, i) => [field, Offset.FIELDS + i * SLOT_BYTES]),
) as Readonly<Record<VmcsField, number>>;

/** One VMCS; nothing of it is kept here, so that VMCLEAR has nothing to write back. */
export class Vmcs {
  /** Of its first byte; a multiple of 4,096, and all of it is memory. */
  readonly gpa: number;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory, gpa: number) {
    this.#memory = memory;
    this.gpa = gpa;
  }

  /** Bits 30:0, and the shadow-VMCS indicator in bit 31. */
  get revision(): number {
    return this.#memory.read32(this.gpa + Offset.REVISION) >>> 0;
  }
  get isLaunched(): boolean {
    return this.#memory.read32(this.gpa + Offset.LAUNCH_STATE) === LAUNCHED;
  }
  set isLaunched(launched: boolean) {
    this.#memory.write32(this.gpa + Offset.LAUNCH_STATE, launched ? LAUNCHED : 0);
  }
  /** VMX-abort indicator (27.7). */
  set abort(why: number) {
    this.#memory.write32(this.gpa + Offset.ABORT, why);
  }

  /** Unsigned. */
  read(field: NarrowField): number {
    return this.#memory.words[(this.gpa + OFFSETS[field]) >>> 2] >>> 0;
  }
  write(field: NarrowField, value: number): void {
    this.#memory.write32(this.gpa + OFFSETS[field], value >>> 0);
  }
  /** Unsigned. */
  read64(field: WideField): bigint {
    return this.#memory.read64(this.gpa + OFFSETS[field]);
  }
  write64(field: WideField, value: bigint): void {
    this.#memory.write64(this.gpa + OFFSETS[field], BigInt.asUintN(64, value));
  }

  /** VMREAD of a field (its upper half: as 32 bits). */
  get({ field, isHigh }: FieldAccess): bigint {
    const value = this.#memory.read64(this.gpa + OFFSETS[field]);
    return isHigh ? value >> 32n : value;
  }
  /** VMWRITE; what does not fit is cut off. @param operandBits 32 or 64: the lower half of a quadword leaves the upper alone */
  set({ field, isHigh, width }: FieldAccess, value: bigint, operandBits: number): void {
    const at = this.gpa + OFFSETS[field];
    if (width === 64 && (isHigh || operandBits === 32)) this.#memory.write32(isHigh ? at + 4 : at, Number(value & LOW));
    else if (width === 16 || width === 32) this.#memory.write64(at, BigInt.asUintN(width, value));
    else this.#memory.write64(at, BigInt.asUintN(operandBits, value));
  }

  segment(name: VmcsSegment): Segment {
    return {
      selector: this.read(`GUEST_${name}_SELECTOR`),
      base: this.read64(`GUEST_${name}_BASE`),
      limit: this.read(`GUEST_${name}_LIMIT`),
      accessRights: this.read(`GUEST_${name}_ACCESS_RIGHTS`),
    };
  }
  setSegment(name: VmcsSegment, { selector, base, limit, accessRights }: Segment): void {
    this.write(`GUEST_${name}_SELECTOR`, selector);
    this.write64(`GUEST_${name}_BASE`, base);
    this.write(`GUEST_${name}_LIMIT`, limit);
    this.write(`GUEST_${name}_ACCESS_RIGHTS`, accessRights);
  }
  table(name: 'GDTR' | 'IDTR'): DescriptorTable {
    return { base: this.read64(`GUEST_${name}_BASE`), limit: this.read(`GUEST_${name}_LIMIT`) };
  }
  setTable(name: 'GDTR' | 'IDTR', { base, limit }: DescriptorTable): void {
    this.write64(`GUEST_${name}_BASE`, base);
    this.write(`GUEST_${name}_LIMIT`, limit);
  }
}
