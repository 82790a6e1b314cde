/** Entering and leaving a PV32 kernel: its frames, selectors and stack (xen/arch/x86, compat create_bounce_frame and iret). */
import { Gpr, type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import { VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { codeSegment, stackSegment } from './segments.ts';

const AS_SUPERVISOR = { as: 'supervisor' } as const;
const MAX_WORDS = 6;
const frame = new Int32Array(MAX_WORDS);

export interface Frame32 {
  /** EFLAGS as the guest believes them. */
  readonly flags: number;
  /** vcpu_info's upcall mask before this entry. */
  readonly masked: number;
  readonly errorCode: number | undefined;
  readonly cs: number;
  readonly address: number;
}

/**
 * Push [error code] EIP CS (with the saved upcall mask in bits 16–23) EFLAGS, and from user mode ESP SS, on the kernel's
 * stack, and go to the handler. Answers what went wrong, if anything did; then only the stack may have been written.
 */
export function enterKernel32(domain: XenDomain, vcpu: XenVcpu, { flags, masked, errorCode, cs, address }: Frame32) {
  const { cpu } = vcpu;
  const inKernel = vcpu.kernelMode;
  const stack = inKernel ? cpu.segment(SegmentIndex.SS) : stackSegment(domain, vcpu, vcpu.kernelSs);
  const code = codeSegment(domain, vcpu, cs);
  if (stack === undefined) return `kernel stack segment 0x${vcpu.kernelSs.toString(16)} is not one`;
  if (code === undefined) return `handler's code segment 0x${cs.toString(16)} is not one`;
  let at = 0;
  if (errorCode !== undefined) frame[at++] = errorCode;
  frame[at++] = Number(cpu.rip & 0xffff_ffffn) | 0;
  frame[at++] = cpu.selector(SegmentIndex.CS) | (masked << 16);
  frame[at++] = flags;
  if (!inKernel) {
    frame[at++] = cpu.gprHalves[2 * Gpr.RSP];
    frame[at++] = cpu.selector(SegmentIndex.SS);
  }
  const top = inKernel ? cpu.gprHalves[2 * Gpr.RSP] : Number(vcpu.kernelRsp & 0xffff_ffffn);
  const esp = (top - at * 4) >>> 0;
  if (!cpu.writeWords(linear(stack, esp), 0, frame, at, AS_SUPERVISOR)) {
    return `kernel stack 0x${esp.toString(16)} cannot be written`;
  }
  setRegister(vcpu, Gpr.RSP, esp);
  load(vcpu, code, stack);
  cpu.setRip(address, 0);
  return undefined;
}

/** The words of the frame that the iret hypercall finds: EAX EIP CS EFLAGS, and for user mode ESP SS. */
export interface Return32 {
  readonly eax: number;
  readonly eip: number;
  readonly cs: number;
  readonly flags: number;
  readonly esp: number;
  readonly ss: number;
}

/** Read the frame of the iret hypercall from the kernel's stack; `undefined`: it cannot be read. */
export function readReturn32(vcpu: XenVcpu): Return32 | undefined {
  const { cpu } = vcpu;
  const stack = cpu.segment(SegmentIndex.SS);
  const esp = cpu.gprHalves[2 * Gpr.RSP] >>> 0;
  if (!cpu.readWords(linear(stack, esp), 0, frame, 4)) return undefined;
  const [eax, eip, cs, flags] = frame;
  if ((cs & 3) !== 3) return { eax, eip, cs: cs & 0xffff, flags, esp: esp + 16, ss: stack.selector };
  if (!cpu.readWords(linear(stack, esp + 16), 0, frame, 2)) return undefined;
  return { eax, eip, cs: cs & 0xffff, flags, esp: frame[0], ss: frame[1] & 0xffff };
}

export function setUpcallMask(domain: XenDomain, vcpu: XenVcpu, masked: boolean): void {
  domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, masked ? 1 : 0);
}

export function setRegister({ cpu }: XenVcpu, register: number, value: number): void {
  cpu.gprHalves[2 * register] = value;
  cpu.gprHalves[2 * register + 1] = 0;
}

/** Go on with these segments at the level of the code's selector. */
export function load({ cpu }: XenVcpu, code: Segment, stack: Segment): void {
  cpu.setSegment(SegmentIndex.SS, stack);
  cpu.setSegment(SegmentIndex.CS, code);
  const level = code.selector & 3;
  if (cpu.cpl !== level) cpu.cpl = level;
}

/** Offset in a segment as a linear address, which wraps at 4 GiB. */
function linear(segment: Segment, offset: number): number {
  return (Number(segment.base & 0xffff_ffffn) + offset) | 0;
}
