import { segmentBounds } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeFault, protection, Vector } from './answer.ts';

const SS = 2;
const FS = 4;

/** Linear address of an operand that TypeScript reads or writes, checked against its segment. */
export function dataAddress(
  vcpu: MachineVcpu,
  register: number,
  offset: bigint,
  bytes: number,
  access: 'read' | 'write',
): bigint | NativeFault {
  const segment = vcpu.segment(register);
  // In 64-bit mode only FS and GS have a base.
  if (vcpu.engine.mode === 'long64') return BigInt.asUintN(64, offset + (register >= FS ? segment.base : 0n));
  const { floor, readEnd, writeEnd } = segmentBounds(segment.limit, segment.accessRights);
  const at = Number(offset);
  if (at < floor || at + bytes > (access === 'write' ? writeEnd : readEnd))
    return register === SS ? { vector: Vector.SS, errorCode: 0 } : protection(0);
  return BigInt.asUintN(32, offset + segment.base);
}
