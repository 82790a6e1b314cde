/** The instruction at which a guest has stopped, for what an exit tells of it. */
import { SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { Rights } from './checks/segments.ts';
import { Cr0, Efer } from './checks/state.ts';
import type { CodeSize } from './instruction-information.ts';

export const isLongMode = (vcpu: Vcpu): boolean => (vcpu.efer & Efer.LMA) !== 0n;
export const isLongCode = (vcpu: Vcpu): boolean =>
  isLongMode(vcpu) && (vcpu.accessRights(SegmentIndex.CS) & Rights.L) !== 0;
export const isProtected = (vcpu: Vcpu): boolean => (vcpu.cr0 & Cr0.PE) !== 0n;

export function codeSizeOf(vcpu: Vcpu): CodeSize {
  if (isLongCode(vcpu)) return { isLong: true, addressBits: 64 };
  return { isLong: false, addressBits: vcpu.accessRights(SegmentIndex.CS) & Rights.DB ? 32 : 16 };
}

/** Empty if they cannot be read any more. */
export function instructionBytes(vcpu: Vcpu, lengthBytes: number): Uint8Array {
  const base = isLongCode(vcpu) ? 0n : vcpu.segment(SegmentIndex.CS).base;
  const found = vcpu.read(base + vcpu.rip, lengthBytes, { as: 'supervisor' });
  return found.ok ? found.bytes : new Uint8Array();
}
