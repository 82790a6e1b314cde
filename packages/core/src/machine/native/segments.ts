import type { Segment } from '@polyvisor/plugin-api';
import { AccessRights, type MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, protection, Vector } from './answer.ts';

/** Bits of a descriptor's second word, moved down to access-rights positions (SDM vol. 3A, 3.4.5). */
const RIGHTS_MASK = 0xf0ff;
const RIGHTS_S = 1 << 4;
const RIGHTS_P = 1 << 7;
const TYPE_CODE = 8;
const TYPE_CONFORMING = 4;
const TYPE_READABLE_OR_WRITABLE = 2;
const SS = 2;
const CS = 1;

const NULL_SEGMENT: Segment = { selector: 0, base: 0n, limit: 0, accessRights: AccessRights.UNUSABLE };

export const isFault = (value: object): value is NativeFault => 'vector' in value;
export const dplOf = (segment: Segment): number => (segment.accessRights >> 5) & 3;

/** A descriptor of the GDT or LDT as a segment; fault: outside the table, or not readable. */
export function readDescriptor(vcpu: MachineVcpu, selector: number): Segment | NativeFault {
  const index = selector & 0xfff8;
  const table = selector & 4 ? { base: vcpu.tables.ldtr.base, limit: vcpu.tables.ldtr.limit } : vcpu.tables.gdtr;
  if (index + 7 > table.limit) return protection(selector & 0xfffc);
  const found = vcpu.read(table.base + BigInt(index), 8, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  return segmentFromWords(selector, view.getUint32(0, true), view.getUint32(4, true));
}

/** Byte-granular limit of a descriptor. */
export function limitOf(low: number, high: number): number {
  const raw = (low & 0xffff) | (high & 0xf0000);
  return high & 0x800000 ? ((raw << 12) | 0xfff) >>> 0 : raw;
}

export function segmentFromWords(selector: number, low: number, high: number): Segment {
  const limit = limitOf(low, high);
  const base = BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000)) >>> 0);
  return { selector, base, limit, accessRights: (high >>> 8) & RIGHTS_MASK };
}

/** MOV and POP to a data segment register or SS (SDM vol. 2B, MOV). */
export function loadDataSegment(vcpu: MachineVcpu, register: number, selector: number): NativeFault | undefined {
  if (register === CS) return { vector: Vector.UD };
  const rpl = selector & 3;
  const long = vcpu.engine.mode === 'long64';
  if ((selector & 0xfffc) === 0) {
    // A null SS is allowed in 64-bit mode below CPL 3.
    if (register === SS && !(long && vcpu.cpl < 3 && rpl === vcpu.cpl)) return protection(0);
    vcpu.setSegment(register, { ...NULL_SEGMENT, selector });
    return undefined;
  }
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment;
  const { accessRights } = segment;
  const code = selector & 0xfffc;
  const data = (accessRights & RIGHTS_S) !== 0;
  const dpl = dplOf(segment);
  if (register === SS) {
    const writable = data && !(accessRights & TYPE_CODE) && accessRights & TYPE_READABLE_OR_WRITABLE;
    if (!writable || rpl !== vcpu.cpl || dpl !== vcpu.cpl) return protection(code);
    if (!(accessRights & RIGHTS_P)) return { vector: Vector.SS, errorCode: code };
  } else {
    const isCode = accessRights & TYPE_CODE;
    if (!data || (isCode && !(accessRights & TYPE_READABLE_OR_WRITABLE))) return protection(code);
    const conforming = isCode && accessRights & TYPE_CONFORMING;
    if (!conforming && dpl < Math.max(vcpu.cpl, rpl)) return protection(code);
    if (!(accessRights & RIGHTS_P)) return { vector: Vector.NP, errorCode: code };
  }
  vcpu.setSegment(register, segment);
  return undefined;
}

/** Check a code segment for a far transfer that stays at `cpl` (SDM vol. 3A, 5.8.1). */
export function readCodeSegment(
  vcpu: MachineVcpu,
  selector: number,
  cpl: number,
  byReturn: boolean,
): Segment | NativeFault {
  if ((selector & 0xfffc) === 0) return protection(0);
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment;
  const code = selector & 0xfffc;
  const { accessRights } = segment;
  if (!(accessRights & RIGHTS_S) || !(accessRights & TYPE_CODE)) return protection(code);
  const dpl = dplOf(segment);
  const rpl = selector & 3;
  const conforming = (accessRights & TYPE_CONFORMING) !== 0;
  const allowed = byReturn
    ? conforming
      ? dpl <= rpl
      : dpl === rpl
    : conforming
      ? dpl <= cpl
      : rpl <= cpl && dpl === cpl;
  if (!allowed) return protection(code);
  if (!(accessRights & RIGHTS_P)) return { vector: Vector.NP, errorCode: code };
  // L and D together are reserved.
  if (accessRights & AccessRights.L && accessRights & AccessRights.DB) return protection(code);
  return segment;
}

/** Load CS. In 64-bit mode its base counts as 0. */
export function loadCodeSegment(vcpu: MachineVcpu, segment: Segment, cpl: number): void {
  const base = segment.accessRights & AccessRights.L ? 0n : segment.base;
  vcpu.setSegment(CS, { ...segment, base, selector: (segment.selector & ~3) | cpl });
  if (vcpu.cpl !== cpl) vcpu.cpl = cpl;
}

/** After a return to an outer level: data segments that it may not use become null (SDM vol. 3A, 5.8.6). */
export function dropInnerSegments(vcpu: MachineVcpu): void {
  for (const register of [0, 3, 4, 5]) {
    const segment = vcpu.segment(register);
    const conformingCode = (segment.accessRights & (TYPE_CODE | TYPE_CONFORMING)) === (TYPE_CODE | TYPE_CONFORMING);
    if (segment.accessRights & AccessRights.UNUSABLE || conformingCode || dplOf(segment) >= vcpu.cpl) continue;
    vcpu.setSegment(register, {
      ...NULL_SEGMENT,
      base: register >= 4 && vcpu.engine.mode === 'long64' ? 0n : segment.base,
    });
  }
}
