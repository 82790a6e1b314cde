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

const linearRip = (vcpu: Vcpu): bigint => (isLongCode(vcpu) ? 0n : vcpu.segment(SegmentIndex.CS).base) + vcpu.rip;

/** Empty if they cannot be read any more. */
export function instructionBytes(vcpu: Vcpu, lengthBytes: number): Uint8Array {
  const found = vcpu.read(linearRip(vcpu), lengthBytes, { as: 'supervisor' });
  return found.ok ? found.bytes : new Uint8Array();
}

const LONGEST_INSTRUCTION = 15;
const PAGE_BYTES = 4096;
/** As many as an instruction can have, or as there are on its page if the next cannot be read. */
export function bytesAtRip(vcpu: Vcpu): Uint8Array {
  const bytes = instructionBytes(vcpu, LONGEST_INSTRUCTION);
  const onPage = PAGE_BYTES - Number(linearRip(vcpu) % BigInt(PAGE_BYTES));
  return bytes.length > 0 ? bytes : instructionBytes(vcpu, Math.min(LONGEST_INSTRUCTION, onPage));
}
