import { modeFacts } from '../isa/modes.ts';
import type { MachineVcpu } from './vcpu.ts';

/** A vCPU comes to code that it has not executed yet. */
export interface FirstRun {
  readonly vcpu: number;
  readonly rip: bigint;
  /** The word on top of the stack: where a function that has just been called returns to. `undefined`: not mapped, or 16-bit code. */
  readonly stackTop: bigint | undefined;
}

/** Where a vCPU is as its engine has decoded the code there. Looking leaves no trace in the guest. */
export function firstRunOf(vcpu: MachineVcpu, rip: bigint): FirstRun {
  return { vcpu: vcpu.id, rip, stackTop: stackTop(vcpu) };
}

function stackTop(vcpu: MachineVcpu): bigint | undefined {
  const { mode } = vcpu.engine;
  if (modeFacts(mode).codeBits === 16) return undefined;
  const sizeBytes = mode === 'long64' ? 8 : 4;
  const found = vcpu.read(vcpu.gpr[4], sizeBytes, { as: 'supervisor' });
  if (!found.ok) return undefined;
  const view = new DataView(found.bytes.buffer, found.bytes.byteOffset, sizeBytes);
  return sizeBytes === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
}
