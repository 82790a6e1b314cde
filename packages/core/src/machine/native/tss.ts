/** What transfers to an inner level take from the task-state segment (SDM vol. 3A, 8.2.1, 8.6 and 8.7). */
import type { Segment } from '@polyvisor/plugin-api';
import type { MachineVcpu } from '../vcpu.ts';
import { memoryFault, type NativeFault, Vector } from './answer.ts';
import { errorCodeOf, isFault, readStackSegment } from './descriptors.ts';

/** Offsets in a 64-bit TSS (SDM vol. 3A, 8.7). */
export const TSS_RSP0 = 4;
export const TSS_IST1 = 36;
const TSS32_TYPE = 8;
/** Is the current TSS one of 32 (or 64) bits, not of 16? */
export const isWideTss = (tss: Segment): boolean => (tss.accessRights & TSS32_TYPE) !== 0;

/** SS and rSP for a level, from a 16- or 32-bit TSS; #TS for what is wrong with them. `external`: EXT of error codes. */
export function stackOfLevel(
  vcpu: MachineVcpu,
  level: number,
  external: number,
): { segment: Segment; pointer: bigint } | NativeFault {
  const { tr } = vcpu.tables;
  const wide = isWideTss(tr);
  const offset = wide ? 4 + level * 8 : 2 + level * 4;
  const size = wide ? 6 : 4;
  if (offset + size - 1 > tr.limit) return { vector: Vector.TS, errorCode: errorCodeOf(tr.selector) | external };
  const found = vcpu.read(tr.base + BigInt(offset), size, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  const view = new DataView(found.bytes.buffer);
  const pointer = BigInt(wide ? view.getUint32(0, true) : view.getUint16(0, true));
  const segment = readStackSegment(vcpu, view.getUint16(wide ? 4 : 2, true), level, { vector: Vector.TS, external });
  return isFault(segment) ? segment : { segment, pointer };
}

/** RSP for a level, or of an interrupt stack, from a 64-bit TSS. */
export function stackPointerAt(vcpu: MachineVcpu, offset: number): bigint | NativeFault {
  const { tr } = vcpu.tables;
  if (offset + 7 > tr.limit) return { vector: Vector.TS, errorCode: errorCodeOf(tr.selector) };
  const found = vcpu.read(tr.base + BigInt(offset), 8, { as: 'supervisor' });
  if (!found.ok) return memoryFault(found.fault);
  return new DataView(found.bytes.buffer).getBigUint64(0, true);
}
