import { Gpr, type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import { copyFromGuest } from '../access.ts';
import {
  type HypercallContext,
  type HypercallResult,
  NO_RESULT,
  VcpuInfo,
  type XenDomain,
  type XenVcpu,
} from '../domain.ts';
import { FLAT_RING3_CS32 } from '../layout.ts';
import { RFLAGS_IF, RFLAGS_IOPL, RFLAGS_VM, VMASST_ARCHITECTURAL_IOPL } from './bounce.ts';
import { toggleGuestMode } from './mode.ts';
import { codeSegment, KERNEL_CS, KERNEL_SS, loadFlat, stackSegment, USER_CS32 } from './segments.ts';
import { injectException, Vector } from './traps.ts';

/** struct iret_context (public/arch-x86/xen-x86_64.h): rax r11 rcx flags rip cs rflags rsp ss. */
const CONTEXT_BYTES = 9 * 8;
const VGCF_IN_SYSCALL = 1n << 8n;
const RFLAGS_ALL = 0x003f_7fd5n;
const RFLAGS_ALWAYS_ONE = 2n;

/** Leave the guest kernel by the frame on its stack, to guest user mode (CS.RPL 3) or to itself. */
export function iret(context: HypercallContext): HypercallResult {
  const { domain, vcpu } = context;
  const { cpu } = vcpu;
  const frame = copyFromGuest(vcpu, cpu.gpr[Gpr.RSP], CONTEXT_BYTES);
  if (frame === undefined) {
    domain.crash(vcpu, `iret: frame at 0x${cpu.gpr[Gpr.RSP].toString(16)} cannot be read`);
    return NO_RESULT;
  }
  const word = (index: number): bigint => frame.getBigUint64(index * 8, true);
  const selector = Number(word(5) & 0xffffn);
  if ((selector & 3) === 3) {
    if (vcpu.userRootMfn === 0) {
      domain.crash(vcpu, 'iret: to user mode without user page tables');
      return NO_RESULT;
    }
    toggleGuestMode(vcpu);
  }
  const flags = word(6);
  if ((domain.vmAssist & VMASST_ARCHITECTURAL_IOPL) !== 0n) vcpu.iopl = Number((flags & RFLAGS_IOPL) >> 12n);
  cpu.gpr[Gpr.RAX] = word(0);
  cpu.rip = word(4);
  cpu.rflags = (flags & RFLAGS_ALL & ~(RFLAGS_IOPL | RFLAGS_VM)) | RFLAGS_IF | RFLAGS_ALWAYS_ONE;
  cpu.gpr[Gpr.RSP] = word(7);
  domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, (flags & RFLAGS_IF) === 0n ? 1 : 0);
  vcpu.nmiMasked = false;
  if ((word(3) & VGCF_IN_SYSCALL) !== 0n) {
    returnBySysret(vcpu, selector | 3);
  } else {
    cpu.gpr[Gpr.R11] = word(1);
    cpu.gpr[Gpr.RCX] = word(2);
    returnByIret(domain, vcpu, selector | 3, Number(word(8) & 0xffffn) | 3);
  }
  return NO_RESULT;
}

/** As SYSRET leaves it: flat selectors, RCX = RIP, R11 = RFLAGS. */
function returnBySysret(vcpu: XenVcpu, selector: number): void {
  const { cpu } = vcpu;
  loadFlat(vcpu, SegmentIndex.CS, selector === FLAT_RING3_CS32 ? USER_CS32 : KERNEL_CS);
  loadFlat(vcpu, SegmentIndex.SS, KERNEL_SS);
  cpu.gpr[Gpr.RCX] = cpu.rip;
  cpu.gpr[Gpr.R11] = cpu.rflags;
  if (!isCanonical(cpu.rip)) cpu.rip = BigInt.asUintN(64, BigInt.asIntN(48, cpu.rip));
}

function returnByIret(domain: XenDomain, vcpu: XenVcpu, selector: number, stackSelector: number): void {
  const code = codeSegment(domain, vcpu, selector);
  const stack = stackSegment(domain, vcpu, stackSelector);
  // A return that faults is seen by the guest as a fault of the context it returns to, with that context's selectors.
  loadIfChanged(vcpu, SegmentIndex.CS, code ?? { ...KERNEL_CS, selector });
  loadIfChanged(vcpu, SegmentIndex.SS, stack ?? { ...KERNEL_SS, selector: stackSelector });
  if (code === undefined) injectException(domain, vcpu, Vector.GP, selector & 0xfffc);
  else if (stack === undefined) injectException(domain, vcpu, Vector.GP, stackSelector & 0xfffc);
  else if (!isCanonical(vcpu.cpu.rip)) injectException(domain, vcpu, Vector.GP, 0);
}

function loadIfChanged(vcpu: XenVcpu, index: number, segment: Segment): void {
  const current = vcpu.cpu.segment(index);
  const same =
    current.selector === segment.selector &&
    current.base === segment.base &&
    current.limit === segment.limit &&
    current.accessRights === segment.accessRights;
  if (!same) vcpu.cpu.setSegment(index, segment);
}

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}
