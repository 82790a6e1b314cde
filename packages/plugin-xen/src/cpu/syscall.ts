import { Gpr, SegmentIndex } from '@polyvisor/plugin-api';
import { type HypercallArguments, type HypercallResult, NO_RESULT, type XenDomain, type XenVcpu } from '../domain.ts';
import { HIGH, LOW } from '../halves.ts';
import { FLAT_RING3_CS32 } from '../layout.ts';
import { bounce, RFLAGS_DF, RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM } from './bounce.ts';
import { setRegister } from './frames32.ts';
import { KERNEL_CS, KERNEL_SS, loadFlat, USER_CS32 } from './segments.ts';
import { injectException, Vector } from './traps.ts';

export interface Dispatch {
  call(domain: XenDomain, vcpu: XenVcpu, number: number, args: HypercallArguments): HypercallResult;
  /** Of a PV32 guest, whose six arguments are words. */
  callWords(domain: XenDomain, vcpu: XenVcpu, number: number, words: Int32Array): HypercallResult | number;
}

const CODE_L = 1 << 13;
export const FLAT_USER_SS_32 = 0xe033;

const ARGUMENT_REGISTERS = [Gpr.RDI, Gpr.RSI, Gpr.RDX, Gpr.R10, Gpr.R8, Gpr.R9] as const;
/** The arguments of the call that is being carried out; there is one at a time. */
const argumentValues = new BigUint64Array(ARGUMENT_REGISTERS.length);
const argumentHalves = new Int32Array(argumentValues.buffer);

/**
 * SYSCALL: a hypercall from the guest kernel; from guest user mode a bounce to the kernel's syscall callback. PV32 guests
 * do not have it, as on an Intel processor.
 */
export function onSyscall(domain: XenDomain, vcpu: XenVcpu, instructionLength: number, dispatch: Dispatch): void {
  if (vcpu.ring1) {
    injectException(domain, vcpu, Vector.UD);
    return;
  }
  const { cpu } = vcpu;
  const { gprHalves, ripHalves } = cpu;
  const wasLong = (cpu.accessRights(SegmentIndex.CS) & CODE_L) !== 0;
  const low = (ripHalves[LOW] >>> 0) + instructionLength;
  cpu.setRip(low, low > 0xffff_ffff ? ripHalves[HIGH] + 1 : ripHalves[HIGH]);
  gprHalves[2 * Gpr.RCX] = ripHalves[LOW];
  gprHalves[2 * Gpr.RCX + 1] = ripHalves[HIGH];
  gprHalves[2 * Gpr.R11] = cpu.eflags;
  gprHalves[2 * Gpr.R11 + 1] = 0;
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  loadFlat(vcpu, SegmentIndex.CS, wasLong ? KERNEL_CS : USER_CS32);
  if (vcpu.kernelMode) hypercall(domain, vcpu, dispatch);
  else userSyscall(domain, vcpu, instructionLength);
}

/** RAX, RDI RSI RDX R10 R8 R9 (docs/guest-guide/x86/hypercall-abi.rst); RCX and R11 come back as SYSRET leaves them. */
function hypercall(domain: XenDomain, vcpu: XenVcpu, dispatch: Dispatch): void {
  const { gpr, gprHalves } = vcpu.cpu;
  const number = gprHalves[2 * Gpr.RAX] >>> 0;
  for (let i = 0; i < ARGUMENT_REGISTERS.length; i++) {
    const register = 2 * ARGUMENT_REGISTERS[i];
    argumentHalves[2 * i] = gprHalves[register];
    argumentHalves[2 * i + 1] = gprHalves[register + 1];
  }
  gprHalves[2 * Gpr.R11] = (gprHalves[2 * Gpr.R11] & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF;
  const result = dispatch.call(domain, vcpu, number, argumentValues);
  if (result !== NO_RESULT) gpr[Gpr.RAX] = result;
}

const ARGUMENT_REGISTERS_32 = [Gpr.RBX, Gpr.RCX, Gpr.RDX, Gpr.RSI, Gpr.RDI, Gpr.RBP] as const;
const argumentWords = new Int32Array(ARGUMENT_REGISTERS_32.length);

/** INT 0x82 of a PV32 kernel, EIP behind it: EAX, EBX ECX EDX ESI EDI EBP (docs/guest-guide/x86/hypercall-abi.rst). */
export function onHypercall32(domain: XenDomain, vcpu: XenVcpu, dispatch: Dispatch): void {
  const { gprHalves } = vcpu.cpu;
  for (let i = 0; i < ARGUMENT_REGISTERS_32.length; i++) argumentWords[i] = gprHalves[2 * ARGUMENT_REGISTERS_32[i]];
  const result = dispatch.callWords(domain, vcpu, gprHalves[2 * Gpr.RAX] >>> 0, argumentWords);
  if (result === NO_RESULT) return;
  setRegister(vcpu, Gpr.RAX, typeof result === 'number' ? result : Number(BigInt.asIntN(32, result)));
}

function userSyscall(domain: XenDomain, vcpu: XenVcpu, instructionLength: number): void {
  const { cpu, callbacks } = vcpu;
  const is32 = cpu.selector(SegmentIndex.CS) === FLAT_RING3_CS32;
  const address = is32 ? callbacks.syscall32 : callbacks.syscall;
  if (address === 0n) {
    cpu.rip = BigInt.asUintN(64, cpu.rip - BigInt(instructionLength));
    injectException(domain, vcpu, Vector.UD);
    return;
  }
  const masksEvents = is32 ? callbacks.syscall32MasksEvents : callbacks.syscallMasksEvents;
  bounce(domain, vcpu, { address, cs: 0, masksEvents, what: 'SYSCALL' });
  cpu.eflags &= ~RFLAGS_DF;
}

/** SYSENTER: the interrupted RIP, CS and RSP are lost, as on hardware. */
export function onSysenter(domain: XenDomain, vcpu: XenVcpu): void {
  const { cpu, callbacks } = vcpu;
  if (callbacks.sysenter === 0n || (vcpu.ring1 && vcpu.kernelMode)) {
    injectException(domain, vcpu, Vector.GP, 0);
    return;
  }
  const { sysenter: address, sysenterCs: cs, sysenterMasksEvents: masksEvents } = callbacks;
  cpu.setSegment(SegmentIndex.SS, vcpu.ring1 ? { ...KERNEL_SS, selector: FLAT_USER_SS_32 } : KERNEL_SS);
  cpu.setSegment(SegmentIndex.CS, { ...USER_CS32, selector: 3 });
  cpu.gpr[Gpr.RSP] = 0n;
  cpu.rip = 0n;
  cpu.eflags |= RFLAGS_IF;
  bounce(domain, vcpu, { address, cs, masksEvents, what: 'SYSENTER' });
}
