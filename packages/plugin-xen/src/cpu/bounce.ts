import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../access.ts';
import { VcpuInfo, type XenDomain, type XenVcpu } from '../domain.ts';
import { toggleGuestMode } from './mode.ts';
import { KERNEL_CS, KERNEL_SS, loadFlat } from './segments.ts';

export const RFLAGS_TF = 1n << 8n;
export const RFLAGS_IF = 1n << 9n;
export const RFLAGS_DF = 1n << 10n;
export const RFLAGS_IOPL = 3n << 12n;
const RFLAGS_NT = 1n << 14n;
export const RFLAGS_RF = 1n << 16n;
export const RFLAGS_VM = 1n << 17n;
const RFLAGS_AC = 1n << 18n;
const CLEARED_ON_ENTRY = RFLAGS_AC | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT | RFLAGS_TF;

/** VMASST_TYPE_architectural_iopl (public/xen.h): frames carry the virtual IOPL. */
export const VMASST_ARCHITECTURAL_IOPL = 1n << 4n;

const WORDS_WITHOUT_ERROR_CODE = 7;

export interface Bounce {
  readonly address: bigint;
  readonly masksEvents: boolean;
  readonly errorCode?: number;
  /** What is being delivered, for the crash report. */
  readonly what: string;
}

const frame = new DataView(new ArrayBuffer((WORDS_WITHOUT_ERROR_CODE + 1) * 8));
const frameBytes = new Uint8Array(frame.buffer);

/**
 * Enter the guest kernel at one of its registered addresses with a 64-bit bounce frame:
 * RCX, R11, [error code], RIP, CS with the saved upcall mask in bits 32–39, RFLAGS, RSP, SS
 * (docs/guest-guide/x86/pv-traps.rst). From user mode the kernel's root and stack are loaded first.
 * A guest that gave no address, or whose stack cannot be written, is crashed.
 */
export function bounce(domain: XenDomain, vcpu: XenVcpu, target: Bounce): void {
  const { cpu, kernelMode } = vcpu;
  if (target.address === 0n) {
    domain.crash(vcpu, `${target.what}: the guest registered no handler`);
    return;
  }
  const selector = BigInt(cpu.segment(SegmentIndex.CS).selector);
  const stackSelector = BigInt(cpu.segment(SegmentIndex.SS).selector);
  const interruptedRsp = cpu.gpr[Gpr.RSP];
  if (!kernelMode) toggleGuestMode(vcpu);
  const top = (kernelMode ? interruptedRsp : vcpu.kernelRsp) & ~0xfn;
  const words = target.errorCode === undefined ? WORDS_WITHOUT_ERROR_CODE : WORDS_WITHOUT_ERROR_CODE + 1;
  const bottom = BigInt.asUintN(64, top - BigInt(words * 8));
  if (top > HYPERVISOR_VIRT_START && top < HYPERVISOR_VIRT_END + 64n) {
    domain.crash(vcpu, `${target.what}: kernel stack 0x${top.toString(16)} lies in the hypervisor's area`);
    return;
  }

  const masked = domain.memory.read8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK);
  if (target.masksEvents) domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, 1);
  const flags = cpu.rflags;

  let at = 0;
  const push = (value: bigint): void => {
    frame.setBigUint64(at, value, true);
    at += 8;
  };
  push(cpu.gpr[Gpr.RCX]);
  push(cpu.gpr[Gpr.R11]);
  if (target.errorCode !== undefined) push(BigInt(target.errorCode >>> 0));
  push(cpu.rip);
  push((kernelMode ? selector & ~3n : selector) | (BigInt(masked) << 32n));
  push(guestFlags(domain, vcpu, flags, masked));
  push(interruptedRsp);
  push(stackSelector);
  if (!cpu.write(bottom, frameBytes.subarray(0, words * 8), { as: 'supervisor' }).ok) {
    domain.crash(vcpu, `${target.what}: kernel stack 0x${bottom.toString(16)} cannot be written`);
    return;
  }

  cpu.rflags = flags & ~CLEARED_ON_ENTRY;
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  loadFlat(vcpu, SegmentIndex.CS, KERNEL_CS);
  cpu.gpr[Gpr.RSP] = bottom;
  cpu.rip = target.address;
}

/** RFLAGS as the guest believes it: IF is the upcall mask's complement, IOPL the virtual one if it asked for that. */
function guestFlags(domain: XenDomain, vcpu: XenVcpu, flags: bigint, masked: number): bigint {
  let result = flags & 0xffff_ffffn & ~(RFLAGS_IF | RFLAGS_IOPL);
  if (masked === 0) result |= RFLAGS_IF;
  if ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0n) result |= BigInt(vcpu.iopl) << 12n;
  return result;
}

/** Deliver the event-channel upcall; the caller has seen that one is pending and not masked. */
export function deliverUpcall(domain: XenDomain, vcpu: XenVcpu): void {
  bounce(domain, vcpu, { address: vcpu.callbacks.event, masksEvents: true, what: 'event upcall' });
}
