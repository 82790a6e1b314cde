/** Descriptors of the GDT and LDT (SDM vol. 3A, 3.4.5), and what may be loaded from them. */
import type { Segment } from '@polyvisor/plugin-api';
import { GDTR_BASE } from '../../cpu/state.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection, Vector } from './answer.ts';
import { isLongMode } from './mode.ts';

/** Bits of a descriptor's second word, moved down to access-rights positions. */
const RIGHTS_MASK = 0xf0ff;
const AS_SUPERVISOR = { as: 'supervisor' } as const;
const { S, P, CODE, CONFORMING, WRITABLE, L, DB } = AccessRights;

/** Types of system descriptors (SDM vol. 3A, table 3-2). */
export const SystemType = {
  TSS16: 1,
  LDT: 2,
  BUSY_TSS16: 3,
  CALL_GATE16: 4,
  TASK_GATE: 5,
  TSS32: 9,
  BUSY_TSS32: 11,
  CALL_GATE32: 12,
} as const;
/** A busy TSS's type less an available one's. */
export const TSS_BUSY = 2;

export const isFault = (value: object): value is NativeFault => 'vector' in value;
export const dplOf = (segment: Segment): number => (segment.accessRights >> 5) & 3;
/** Selector as error codes have it. */
export const errorCodeOf = (selector: number): number => selector & 0xfffc;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

/** A descriptor's two words; fault: outside the table, or not readable. */
export interface Descriptor {
  readonly low: number;
  readonly high: number;
}
export function readWords(vcpu: MachineVcpu, selector: number): Descriptor | NativeFault {
  const index = selector & 0xfff8;
  const table = selector & 4 ? vcpu.tables.ldtr : vcpu.tables.gdtr;
  if (index + 7 > table.limit || (selector & 4 && vcpu.tables.ldtr.accessRights & AccessRights.UNUSABLE))
    return protection(errorCodeOf(selector));
  if (!(selector & 4) && readGdtWords(vcpu, index, entry)) return { low: entry[0] >>> 0, high: entry[1] >>> 0 };
  if (!(selector & 4) && vcpu.hiddenGdt) return protection(errorCodeOf(selector));
  const found = vcpu.read(table.base + BigInt(index), 8, AS_SUPERVISOR);
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  return { low: view.getUint32(0, true), high: view.getUint32(4, true) };
}
const entry = new Int32Array(2);

/** The two words at an offset in the GDT, which is not compared with its limit. False: they cannot be read. */
export function readGdtWords(vcpu: MachineVcpu, offset: number, into: Int32Array): boolean {
  const { hiddenGdt } = vcpu;
  if (hiddenGdt) {
    const at = offset >>> 2;
    if (at + 1 >= hiddenGdt.length) return false;
    into[0] = hiddenGdt[at];
    into[1] = hiddenGdt[at + 1];
    return true;
  }
  const low = (vcpu.slotHalf(GDTR_BASE, 0) >>> 0) + offset;
  const high = vcpu.slotHalf(GDTR_BASE, 1) + (low > 0xffffffff ? 1 : 0);
  return vcpu.readWords(low | 0, high | 0, into, 2, AS_SUPERVISOR);
}

/** A descriptor of the GDT or LDT as a segment; fault: outside the table, or not readable. */
export function readDescriptor(vcpu: MachineVcpu, selector: number): Segment | NativeFault {
  const words = readWords(vcpu, selector);
  return isFault(words) ? words : segmentFromWords(selector, words);
}

export function segmentFromWords(selector: number, { low, high }: Descriptor): Segment {
  const base = BigInt(baseOf(low, high) >>> 0);
  return { selector, base, limit: limitOf(low, high), accessRights: rightsOf(high) };
}
/** Base (32 bits, signed), byte-granular limit and access rights of a descriptor. */
export const baseOf = (low: number, high: number): number => (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
export function limitOf(low: number, high: number): number {
  const raw = (low & 0xffff) | (high & 0xf0000);
  return high & 0x800000 ? ((raw << 12) | 0xfff) >>> 0 : raw;
}
export const rightsOf = (high: number): number => (high >>> 8) & RIGHTS_MASK;

/** Check a code segment for a far transfer that stays at `cpl`, or returns to its RPL (SDM vol. 3A, 5.8.1). */
export function readCodeSegment(
  vcpu: MachineVcpu,
  selector: number,
  cpl: number,
  byReturn: boolean,
): Segment | NativeFault {
  if (isNull(selector)) return protection(0);
  const segment = readDescriptor(vcpu, selector);
  return isFault(segment) ? segment : (codeSegmentFault(vcpu, segment, cpl, byReturn) ?? segment);
}

export function codeSegmentFault(
  vcpu: MachineVcpu,
  segment: Segment,
  cpl: number,
  byReturn: boolean,
): NativeFault | undefined {
  const { selector, accessRights } = segment;
  const code = errorCodeOf(selector);
  if ((accessRights & (S | CODE)) !== (S | CODE)) return protection(code);
  const dpl = dplOf(segment);
  const rpl = selector & 3;
  const conforming = (accessRights & CONFORMING) !== 0;
  const allowed = byReturn
    ? conforming
      ? dpl <= rpl
      : dpl === rpl
    : conforming
      ? dpl <= cpl
      : rpl <= cpl && dpl === cpl;
  if (!allowed) return protection(code);
  if (!(accessRights & P)) return { vector: Vector.NP, errorCode: code };
  // L and D together are reserved.
  if (isLongMode(vcpu) && accessRights & L && accessRights & DB) return protection(code);
  return undefined;
}

/** Check a stack segment for a level: `vector` is raised for what is wrong with it, #SS if it is absent. */
export function readStackSegment(
  vcpu: MachineVcpu,
  selector: number,
  cpl: number,
  { vector, external = 0 }: { vector: number; external?: number },
): Segment | NativeFault {
  const wrong = { vector, errorCode: errorCodeOf(selector) | external };
  if (isNull(selector)) return { vector, errorCode: external };
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : wrong;
  const writable = (segment.accessRights & (S | CODE | WRITABLE)) === (S | WRITABLE);
  if (!writable || (selector & 3) !== cpl || dplOf(segment) !== cpl) return wrong;
  return segment.accessRights & P ? segment : { vector: Vector.SS, errorCode: wrong.errorCode };
}

/** Whether an instruction pointer lies outside a code segment; 64-bit code has no limit. */
export const isBeyondLimit = (vcpu: MachineVcpu, segment: Segment, rip: bigint): boolean =>
  isLongMode(vcpu) && segment.accessRights & L ? false : rip > BigInt(segment.limit);
