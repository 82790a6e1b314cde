import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { type HypercallResult, NO_RESULT, type XenDomain, type XenVcpu } from '../domain.ts';
import { FLAT_RING3_CS32 } from '../layout.ts';
import { bounce, RFLAGS_DF, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM } from './bounce.ts';
import { KERNEL_CS, KERNEL_SS, loadFlat, USER_CS32 } from './segments.ts';
import { injectException, Vector } from './traps.ts';

export type Dispatch = (domain: XenDomain, vcpu: XenVcpu, number: number, args: readonly bigint[]) => HypercallResult;

const CODE_L = 1 << 13;

/** SYSCALL: a hypercall from the guest kernel; from guest user mode a bounce to the kernel's syscall callback. */
export function onSyscall(domain: XenDomain, vcpu: XenVcpu, instructionLength: number, dispatch: Dispatch): void {
  const { cpu } = vcpu;
  const { gpr } = cpu;
  const wasLong = (cpu.segment(SegmentIndex.CS).accessRights & CODE_L) !== 0;
  cpu.rip = BigInt.asUintN(64, cpu.rip + BigInt(instructionLength));
  gpr[Gpr.RCX] = cpu.rip;
  gpr[Gpr.R11] = cpu.rflags;
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  loadFlat(vcpu, SegmentIndex.CS, wasLong ? KERNEL_CS : USER_CS32);
  if (vcpu.kernelMode) hypercall(domain, vcpu, dispatch);
  else userSyscall(domain, vcpu, instructionLength);
}

/** RAX, RDI RSI RDX R10 R8 R9 (docs/guest-guide/x86/hypercall-abi.rst); RCX and R11 come back as SYSRET leaves them. */
function hypercall(domain: XenDomain, vcpu: XenVcpu, dispatch: Dispatch): void {
  const { gpr } = vcpu.cpu;
  const number = Number(gpr[Gpr.RAX] & 0xffff_ffffn);
  const args = [gpr[Gpr.RDI], gpr[Gpr.RSI], gpr[Gpr.RDX], gpr[Gpr.R10], gpr[Gpr.R8], gpr[Gpr.R9]];
  gpr[Gpr.R11] = (gpr[Gpr.R11] & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF;
  const result = dispatch(domain, vcpu, number, args);
  if (result !== NO_RESULT) gpr[Gpr.RAX] = BigInt.asUintN(64, result);
}

function userSyscall(domain: XenDomain, vcpu: XenVcpu, instructionLength: number): void {
  const { cpu, callbacks } = vcpu;
  const is32 = cpu.segment(SegmentIndex.CS).selector === FLAT_RING3_CS32;
  const address = is32 ? callbacks.syscall32 : callbacks.syscall;
  if (address === 0n) {
    cpu.rip = BigInt.asUintN(64, cpu.rip - BigInt(instructionLength));
    injectException(domain, vcpu, Vector.UD);
    return;
  }
  const masksEvents = is32 ? callbacks.syscall32MasksEvents : callbacks.syscallMasksEvents;
  bounce(domain, vcpu, { address, masksEvents, what: 'SYSCALL' });
  cpu.rflags &= ~RFLAGS_DF;
}

/** SYSENTER: the interrupted RIP, CS and RSP are lost, as on hardware. */
export function onSysenter(domain: XenDomain, vcpu: XenVcpu): void {
  const { cpu, callbacks } = vcpu;
  if (callbacks.sysenter === 0n) {
    injectException(domain, vcpu, Vector.GP, 0);
    return;
  }
  cpu.setSegment(SegmentIndex.SS, KERNEL_SS);
  cpu.setSegment(SegmentIndex.CS, { ...USER_CS32, selector: 3 });
  cpu.gpr[Gpr.RSP] = 0n;
  cpu.rip = 0n;
  cpu.rflags |= RFLAGS_IF;
  bounce(domain, vcpu, { address: callbacks.sysenter, masksEvents: callbacks.sysenterMasksEvents, what: 'SYSENTER' });
}
