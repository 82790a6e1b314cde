import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { VcpuInfo } from '../abi/sharedPages.ts';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../access.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { HIGH, halves, join, LOW, split } from '../halves.ts';
import { enterKernel32 } from './frames32.ts';
import { toggleGuestMode } from './mode.ts';
import { KERNEL_CS, KERNEL_SS, loadFlat } from './segments.ts';

// RFLAGS bits, as in Vcpu.eflags.
export const RFLAGS_TF = 1 << 8;
export const RFLAGS_IF = 1 << 9;
export const RFLAGS_DF = 1 << 10;
export const RFLAGS_IOPL = 3 << 12;
const RFLAGS_NT = 1 << 14;
export const RFLAGS_RF = 1 << 16;
export const RFLAGS_VM = 1 << 17;
const RFLAGS_AC = 1 << 18;
const CLEARED_ON_ENTRY = RFLAGS_AC | RFLAGS_VM | RFLAGS_RF | RFLAGS_NT | RFLAGS_TF;

/** VMASST_TYPE_architectural_iopl (public/xen.h): frames carry the virtual IOPL. */
export const VMASST_ARCHITECTURAL_IOPL = 1 << 4;

/** High halves of HYPERVISOR_VIRT_START and HYPERVISOR_VIRT_END; their low halves are 0. */
const HOLE_START_HIGH = Number(HYPERVISOR_VIRT_START >> 32n);
const HOLE_END_HIGH = Number(HYPERVISOR_VIRT_END >> 32n);

const WORDS_WITHOUT_ERROR_CODE = 7;

export interface Bounce {
  readonly address: bigint;
  /** Code selector of a PV32 kernel's handler. */
  readonly cs: number;
  readonly masksEvents: boolean;
  readonly errorCode?: number;
  /** What is being delivered, for the crash report. */
  readonly what: string | (() => string);
}

/** The frame of {@link bounce64} without an error code: offsets in bytes. */
export const Entry = { RCX: 0, R11: 8, RIP: 16, CS: 24, RFLAGS: 32, RSP: 40, SS: 48, SIZE_BYTES: 56 } as const;

/** The frame, in halves of its 64-bit words. */
const frame = new Int32Array((WORDS_WITHOUT_ERROR_CODE + 1) * 2);
const AS_SUPERVISOR = { as: 'supervisor' } as const;

/**
 * Enter the guest kernel at one of its registered addresses with a bounce frame. A guest that gave no address, or whose
 * stack cannot be written, is crashed.
 */
export function bounce(domain: XenDomain, vcpu: XenVcpu, target: Bounce): void {
  if (target.address === 0n) crash(domain, vcpu, target, 'the guest registered no handler');
  else if (vcpu.ring1) bounce32(domain, vcpu, target);
  else bounce64(domain, vcpu, target);
}

function crash(domain: XenDomain, vcpu: XenVcpu, { what }: Bounce, problem: string): void {
  domain.crash(vcpu, `${typeof what === 'string' ? what : what()}: ${problem}`);
}

/** The upcall mask as it was; it is set if the handler asked for that. */
function maskEvents(domain: XenDomain, vcpu: XenVcpu, { masksEvents }: Bounce): number {
  const masked = domain.memory.read8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK);
  if (masksEvents && masked !== 1) domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, 1);
  return masked;
}

function bounce32(domain: XenDomain, vcpu: XenVcpu, target: Bounce): void {
  const { cpu } = vcpu;
  const { eflags } = cpu;
  const masked = maskEvents(domain, vcpu, target);
  const problem = enterKernel32(domain, vcpu, {
    flags: guestFlags(domain, vcpu, eflags, masked),
    masked,
    errorCode: target.errorCode,
    cs: target.cs,
    address: Number(target.address),
  });
  if (problem !== undefined) crash(domain, vcpu, target, problem);
  else cpu.eflags = eflags & ~CLEARED_ON_ENTRY;
}

/**
 * The 64-bit frame: RCX, R11, [error code], RIP, CS with the saved upcall mask in bits 32–39, RFLAGS, RSP, SS
 * (docs/guest-guide/x86/pv-traps.rst). From user mode the kernel's root and stack are loaded first.
 */
function bounce64(domain: XenDomain, vcpu: XenVcpu, target: Bounce): void {
  const { cpu, kernelMode } = vcpu;
  const { gprHalves } = cpu;
  const selector = cpu.selector(SegmentIndex.CS);
  const stackSelector = cpu.selector(SegmentIndex.SS);
  const rspLow = gprHalves[2 * Gpr.RSP];
  const rspHigh = gprHalves[2 * Gpr.RSP + 1];
  if (!kernelMode) toggleGuestMode(vcpu);
  split(vcpu.kernelRsp);
  const topLow = (kernelMode ? rspLow : halves[LOW]) & ~0xf;
  const topHigh = kernelMode ? rspHigh : halves[HIGH];
  const words = target.errorCode === undefined ? WORDS_WITHOUT_ERROR_CODE : WORDS_WITHOUT_ERROR_CODE + 1;
  const bottomLow = (topLow - words * 8) | 0;
  const bottomHigh = topLow >>> 0 < words * 8 ? (topHigh - 1) | 0 : topHigh;
  if (isHypervisorStack(topLow >>> 0, topHigh >>> 0)) {
    const top = join(topLow, topHigh);
    crash(domain, vcpu, target, `kernel stack 0x${top.toString(16)} lies in the hypervisor's area`);
    return;
  }

  const masked = maskEvents(domain, vcpu, target);
  const flags = cpu.eflags;

  let at = 0;
  frame[at++] = gprHalves[2 * Gpr.RCX];
  frame[at++] = gprHalves[2 * Gpr.RCX + 1];
  frame[at++] = gprHalves[2 * Gpr.R11];
  frame[at++] = gprHalves[2 * Gpr.R11 + 1];
  if (target.errorCode !== undefined) {
    frame[at++] = target.errorCode;
    frame[at++] = 0;
  }
  frame[at++] = cpu.ripHalves[LOW];
  frame[at++] = cpu.ripHalves[HIGH];
  frame[at++] = kernelMode ? selector & ~3 : selector;
  frame[at++] = masked;
  frame[at++] = guestFlags(domain, vcpu, flags, masked);
  frame[at++] = 0;
  frame[at++] = rspLow;
  frame[at++] = rspHigh;
  frame[at++] = stackSelector;
  frame[at++] = 0;
  if (!cpu.writeWords(bottomLow, bottomHigh, frame, words * 2, AS_SUPERVISOR)) {
    const bottom = join(bottomLow, bottomHigh);
    crash(domain, vcpu, target, `kernel stack 0x${bottom.toString(16)} cannot be written`);
    return;
  }

  cpu.eflags = flags & ~CLEARED_ON_ENTRY;
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  loadFlat(vcpu, SegmentIndex.CS, KERNEL_CS);
  gprHalves[2 * Gpr.RSP] = bottomLow;
  gprHalves[2 * Gpr.RSP + 1] = bottomHigh;
  cpu.rip = target.address;
}

/** The frame's end in the hypervisor's hole or less than 64 bytes above it, where the frame would reach into it. */
function isHypervisorStack(topLow: number, topHigh: number): boolean {
  if (topHigh === HOLE_START_HIGH) return topLow > 0;
  if (topHigh === HOLE_END_HIGH) return topLow < 64;
  return topHigh > HOLE_START_HIGH && topHigh < HOLE_END_HIGH;
}

export function isHypervisorStackAt(top: bigint): boolean {
  return isHypervisorStack(Number(BigInt.asUintN(32, top)), Number(top >> 32n));
}

/** RFLAGS as the guest believes it: IF is the upcall mask's complement, IOPL the virtual one if it asked for that. */
function guestFlags(domain: XenDomain, vcpu: XenVcpu, flags: number, masked: number): number {
  let result = flags & ~(RFLAGS_IF | RFLAGS_IOPL);
  if (masked === 0) result |= RFLAGS_IF;
  if ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0) result |= vcpu.iopl << 12;
  return result;
}

/** Deliver the event-channel upcall; the caller has seen that one is pending and not masked. */
export function deliverUpcall(domain: XenDomain, vcpu: XenVcpu): void {
  const { event, eventCs } = vcpu.callbacks;
  bounce(domain, vcpu, { address: event, cs: eventCs, masksEvents: true, what: 'event upcall' });
}
