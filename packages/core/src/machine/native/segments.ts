/** Loading segment registers. */
import type { Segment } from '@polyvisor/plugin-api';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeFault, protection, Vector } from './answer.ts';
import { dplOf, errorCodeOf, isFault, isNull, readDescriptor } from './descriptors.ts';
import { hasDescriptors, isLongMode, isVirtual8086 } from './mode.ts';

const { S, P, CODE, CONFORMING, READABLE, WRITABLE, L, DB, G, UNUSABLE } = AccessRights;
const CS = 1;
const SS = 2;
const REAL_LIMIT = 0xffff;
const WRITABLE_DATA = 0x93;
const DPL3 = 3 << 5;

export const nullSegment = (selector = 0): Segment => ({ selector, base: 0n, limit: 0, accessRights: UNUSABLE });

/**
 * A segment register loaded in real-address or virtual-8086 mode (SDM vol. 3B, 20.1.2 and 20.2.2). In real-address mode
 * the limit stays what it was last in protected mode.
 */
export function paragraphSegment(vcpu: MachineVcpu, register: number, selector: number): Segment {
  const base = BigInt((selector & 0xffff) << 4);
  if (isVirtual8086(vcpu)) return virtual8086Segment(selector);
  const { limit, accessRights } = vcpu.segment(register);
  return {
    selector,
    base,
    limit: accessRights & UNUSABLE ? REAL_LIMIT : limit,
    accessRights: WRITABLE_DATA | (accessRights & (DB | G)),
  };
}
export const virtual8086Segment = (selector: number): Segment => ({
  selector: selector & 0xffff,
  base: BigInt((selector & 0xffff) << 4),
  limit: REAL_LIMIT,
  accessRights: WRITABLE_DATA | DPL3,
});

/** MOV and POP to a data segment register or SS (SDM vol. 2B, MOV). */
export function loadDataSegment(vcpu: MachineVcpu, register: number, selector: number): NativeFault | undefined {
  if (register === CS) return { vector: Vector.UD };
  const segment = hasDescriptors(vcpu)
    ? checkDataSegment(vcpu, register, selector, vcpu.cpl, protectionFault)
    : paragraphSegment(vcpu, register, selector);
  if (isFault(segment)) return segment;
  vcpu.setSegment(register, segment);
  return undefined;
}
const protectionFault = (errorCode: number): NativeFault => protection(errorCode);

/** What a selector loads into a data segment register or SS at a level; `wrong` makes the fault of what is not allowed. */
export function checkDataSegment(
  vcpu: MachineVcpu,
  register: number,
  selector: number,
  cpl: number,
  wrong: (errorCode: number) => NativeFault,
): Segment | NativeFault {
  const rpl = selector & 3;
  if (isNull(selector)) {
    // A null SS is allowed in 64-bit mode below CPL 3.
    const long = vcpu.engine.mode === 'long64';
    return register === SS && !(long && cpl < 3 && rpl === cpl) ? wrong(0) : nullSegment(selector);
  }
  const segment = readDescriptor(vcpu, selector);
  const code = errorCodeOf(selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : wrong(code);
  const { accessRights } = segment;
  const dpl = dplOf(segment);
  if (register === SS) {
    const writable = (accessRights & (S | CODE | WRITABLE)) === (S | WRITABLE);
    if (!writable || rpl !== cpl || dpl !== cpl) return wrong(code);
    return accessRights & P ? segment : { vector: Vector.SS, errorCode: code };
  }
  const isCode = (accessRights & CODE) !== 0;
  if (!(accessRights & S) || (isCode && !(accessRights & READABLE))) return wrong(code);
  const conforming = isCode && (accessRights & CONFORMING) !== 0;
  if (!conforming && dpl < Math.max(cpl, rpl)) return wrong(code);
  return accessRights & P ? segment : { vector: Vector.NP, errorCode: code };
}

/** Load CS. In 64-bit mode its base counts as 0. */
export function loadCodeSegment(vcpu: MachineVcpu, segment: Segment, cpl: number): void {
  const base = isLongMode(vcpu) && segment.accessRights & L ? 0n : segment.base;
  vcpu.setSegment(CS, { ...segment, base, selector: (segment.selector & ~3) | cpl });
  if (vcpu.cpl !== cpl) vcpu.cpl = cpl;
}

/** After a return to an outer level: data segments that it may not use become null (SDM vol. 3A, 5.8.6). */
export function dropInnerSegments(vcpu: MachineVcpu): void {
  for (const register of [0, 3, 4, 5]) {
    const segment = vcpu.segment(register);
    const conformingCode = (segment.accessRights & (CODE | CONFORMING)) === (CODE | CONFORMING);
    if (segment.accessRights & UNUSABLE || conformingCode || dplOf(segment) >= vcpu.cpl) continue;
    // The base stays, and in 64-bit mode code sees that of FS and GS.
    vcpu.setSegment(register, { ...nullSegment(), base: segment.base });
  }
}
