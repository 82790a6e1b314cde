import { Gpr, type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import { VcpuInfo } from '../abi/sharedPages.ts';
import { wordsFromGuest } from '../access.ts';
import { type HypercallContext, type HypercallResult, NO_RESULT, type XenDomain, type XenVcpu } from '../domain.ts';
import { HIGH, LOW } from '../halves.ts';
import { FLAT_RING3_CS32 } from '../layout.ts';
import { RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM, VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { rememberSelectors } from './cells.ts';
import { load as load32, readReturn32, setRegister, setUpcallMask } from './frames32.ts';
import { toggleGuestMode } from './mode.ts';
import { codeSegment, KERNEL_CS, KERNEL_SS, loadFlat, stackSegment, USER_CS32 } from './segments.ts';
import { injectException, Vector } from './traps.ts';

/** HYPERVISOR_iret (public/xen.h). */
export const IRET_CALL = 23;
/** struct iret_context (public/arch-x86/xen-x86_64.h), in halves of its 64-bit fields. */
export const Frame = {
  RAX: 0,
  R11: 2,
  RCX: 4,
  FLAGS: 6,
  RIP: 8,
  CS: 10,
  RFLAGS: 12,
  RSP: 14,
  SS: 16,
  WORDS: 18,
} as const;
const frame = new Int32Array(Frame.WORDS);
export const VGCF_IN_SYSCALL = 1 << 8;
export const RFLAGS_ALL = 0x003f_7fd5;
export const RFLAGS_ALWAYS_ONE = 2;

/** Leave the guest kernel by the frame on its stack, to guest user mode (CS.RPL 3) or to itself. */
export function iret(context: HypercallContext): HypercallResult {
  const { domain, vcpu } = context;
  if (vcpu.ring1) return iret32(context);
  const { cpu } = vcpu;
  const { gprHalves } = cpu;
  if (!wordsFromGuest(vcpu, gprHalves[2 * Gpr.RSP], gprHalves[2 * Gpr.RSP + 1], frame, Frame.WORDS)) {
    domain.crash(vcpu, `iret: frame at 0x${cpu.gpr[Gpr.RSP].toString(16)} cannot be read`);
    return NO_RESULT;
  }
  const selector = frame[Frame.CS] & 0xffff;
  if ((selector & 3) === 3) {
    if (vcpu.userRootMfn === 0) {
      domain.crash(vcpu, 'iret: to user mode without user page tables');
      return NO_RESULT;
    }
    toggleGuestMode(vcpu);
  }
  const flags = frame[Frame.RFLAGS];
  if ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0) vcpu.iopl = (flags & RFLAGS_IOPL) >> 12;
  copyRegister(vcpu, Gpr.RAX, Frame.RAX);
  copyRegister(vcpu, Gpr.RSP, Frame.RSP);
  cpu.setRip(frame[Frame.RIP], frame[Frame.RIP + 1]);
  cpu.eflags = (flags & RFLAGS_ALL & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | RFLAGS_ALWAYS_ONE;
  domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, (flags & RFLAGS_IF) === 0 ? 1 : 0);
  vcpu.nmiMasked = false;
  if ((frame[Frame.FLAGS] & VGCF_IN_SYSCALL) !== 0) {
    returnBySysret(vcpu, selector | 3);
  } else {
    copyRegister(vcpu, Gpr.R11, Frame.R11);
    copyRegister(vcpu, Gpr.RCX, Frame.RCX);
    returnByIret(domain, vcpu, selector | 3, (frame[Frame.SS] & 0xffff) | 3);
  }
  return NO_RESULT;
}

/** A PV32 kernel's: back to itself (CS.RPL 1) or to user mode (3), never to virtual-8086 mode. */
function iret32({ domain, vcpu }: HypercallContext): HypercallResult {
  const { cpu } = vcpu;
  const back = readReturn32(vcpu);
  if (back === undefined) {
    domain.crash(vcpu, `iret: frame at 0x${(cpu.gprHalves[2 * Gpr.RSP] >>> 0).toString(16)} cannot be read`);
    return NO_RESULT;
  }
  const { flags } = back;
  if ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0) vcpu.iopl = (flags & RFLAGS_IOPL) >> 12;
  setRegister(vcpu, Gpr.RAX, back.eax);
  setRegister(vcpu, Gpr.RSP, back.esp);
  cpu.setRip(back.eip, 0);
  cpu.eflags = (flags & RFLAGS_ALL & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | RFLAGS_ALWAYS_ONE;
  setUpcallMask(domain, vcpu, (flags & RFLAGS_IF) === 0);
  vcpu.nmiMasked = false;
  if ((flags & RFLAGS_VM) !== 0) {
    injectException(domain, vcpu, Vector.GP, 0);
    return NO_RESULT;
  }
  const toUser = (back.cs & 3) === 3;
  const code = (back.cs & 3) === 0 ? undefined : codeSegment(domain, vcpu, back.cs);
  const stack = toUser ? stackSegment(domain, vcpu, back.ss) : cpu.segment(SegmentIndex.SS);
  if (code !== undefined && stack !== undefined) load32(vcpu, code, stack);
  else injectException(domain, vcpu, Vector.GP, (code === undefined ? back.cs : back.ss) & 0xfffc);
  return NO_RESULT;
}

function copyRegister({ cpu }: XenVcpu, register: number, field: number): void {
  cpu.gprHalves[2 * register] = frame[field];
  cpu.gprHalves[2 * register + 1] = frame[field + 1];
}

/** As SYSRET leaves it: flat selectors, RCX = RIP, R11 = RFLAGS. */
function returnBySysret(vcpu: XenVcpu, selector: number): void {
  const { cpu } = vcpu;
  const { gprHalves } = cpu;
  loadFlat(vcpu, SegmentIndex.CS, selector === FLAT_RING3_CS32 ? USER_CS32 : KERNEL_CS);
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  const low = cpu.ripHalves[LOW];
  const high = cpu.ripHalves[HIGH];
  gprHalves[2 * Gpr.RCX] = low;
  gprHalves[2 * Gpr.RCX + 1] = high;
  gprHalves[2 * Gpr.R11] = cpu.eflags;
  gprHalves[2 * Gpr.R11 + 1] = 0;
  if (!isCanonicalHigh(high)) cpu.setRip(low, signExtended(high));
}

function returnByIret(domain: XenDomain, vcpu: XenVcpu, selector: number, stackSelector: number): void {
  const code = codeSegment(domain, vcpu, selector);
  const stack = stackSegment(domain, vcpu, stackSelector);
  // A return that faults is seen by the guest as a fault of the context it returns to, with that context's selectors.
  load(vcpu, SegmentIndex.CS, code ?? { ...KERNEL_CS, selector });
  load(vcpu, SegmentIndex.SS, stack ?? { ...KERNEL_SS, selector: stackSelector });
  if (code && stack) rememberSelectors(vcpu, code, stack);
  if (code === undefined) injectException(domain, vcpu, Vector.GP, selector & 0xfffc);
  else if (stack === undefined) injectException(domain, vcpu, Vector.GP, stackSelector & 0xfffc);
  else if (!isCanonicalHigh(vcpu.cpu.ripHalves[HIGH])) injectException(domain, vcpu, Vector.GP, 0);
}

function load(vcpu: XenVcpu, index: number, segment: Segment): void {
  // The flat selectors name one descriptor each, for good.
  if (segment === KERNEL_CS || segment === KERNEL_SS || segment === USER_CS32) loadFlat(vcpu, index, segment);
  else vcpu.cpu.setSegment(index, segment);
}

/** Bits 32–47 of an address, given as its high half, with bit 47 spread over those above. */
function signExtended(high: number): number {
  return (high << 16) >> 16;
}
function isCanonicalHigh(high: number): boolean {
  return signExtended(high) === high;
}
