/** SYSCALL, SYSRET, SYSENTER, SYSEXIT: as AMD's processors do them, whose vendor string CPUID shows (AMD APM vol. 3). */
import { FMASK, LSTAR, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP } from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import { FlatRights } from '../../isa/flat-segments.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { protection, undefinedOpcode } from './answer.ts';
import { after, type Native, number } from './context.ts';
import { hasDescriptors, isLongMode, isVirtual8086 } from './mode.ts';

const RCX = 1;
const RDX = 2;
const RSP = 4;
const R11 = 11;
const CS = 1;
const SS = 2;
const MSR_CSTAR = 0xc0000083;
const EFER_SCE = 1n;
const CR0_PE = 1n;
const LOW = 0xffffffffn;

/** Flat segments for a level, by selectors that no descriptor is read for. */
function enterFlat(
  vcpu: MachineVcpu,
  code: number,
  stack: number,
  cpl: 0 | 3,
  codeRights: number = FlatRights.CODE32,
): void {
  const dpl = cpl << 5;
  vcpu.setSegment(SS, { selector: stack | cpl, base: 0n, limit: 0xffffffff, accessRights: FlatRights.DATA | dpl });
  vcpu.setSegment(CS, { selector: code | cpl, base: 0n, limit: 0xffffffff, accessRights: codeRights | dpl });
  vcpu.cpl = cpl;
}

/** In legacy mode EIP is in STAR, and no register keeps the flags. */
export const syscall: Native = (context) => {
  const { vcpu } = context;
  if (!(vcpu.efer & EFER_SCE)) return undefinedOpcode;
  const star = vcpu.slot64(STAR);
  const selector = Number((star >> 32n) & 0xfffcn);
  vcpu.gpr[RCX] = after(context);
  if (isLongMode(vcpu)) {
    vcpu.gpr[R11] = vcpu.rflags & ~BigInt(Flag.RF);
    vcpu.rip = vcpu.engine.mode === 'long64' ? vcpu.slot64(LSTAR) : (vcpu.msrs.get(MSR_CSTAR) ?? 0n);
    vcpu.rflags = (vcpu.rflags & ~vcpu.slot64(FMASK) & ~BigInt(Flag.RF)) | 2n;
    enterFlat(vcpu, selector, selector + 8, 0, FlatRights.CODE64);
    return 'done';
  }
  vcpu.rip = star & LOW;
  vcpu.rflags &= ~BigInt(Flag.VM | Flag.IF | Flag.RF);
  enterFlat(vcpu, selector, selector + 8, 0);
  return 'done';
};

export const sysret: Native = (context) => {
  const { vcpu } = context;
  if (!(vcpu.efer & EFER_SCE)) return undefinedOpcode;
  if (!hasDescriptors(vcpu) || (vcpu.cpl !== 0 && !context.privileged)) return protection();
  const wide = number(context, 0) === 64;
  const base = Number((vcpu.slot64(STAR) >> 48n) & 0xfffcn);
  vcpu.rip = wide ? vcpu.gpr[RCX] : vcpu.gpr[RCX] & LOW;
  vcpu.rflags = isLongMode(vcpu) ? (vcpu.gpr[R11] & 0x3c7fd7n) | 2n : vcpu.rflags | BigInt(Flag.IF);
  enterFlat(vcpu, wide ? base + 16 : base, base + 8, 3, wide ? FlatRights.CODE64 : FlatRights.CODE32);
  return 'done';
};

const isOff = (vcpu: MachineVcpu) => !(vcpu.cr0 & CR0_PE) || (vcpu.slot64(SYSENTER_CS) & 0xfffcn) === 0n;

/** #UD in IA-32e mode. */
export const sysenter: Native = ({ vcpu }) => {
  if (isLongMode(vcpu)) return undefinedOpcode;
  if (isOff(vcpu)) return protection();
  const selector = Number(vcpu.slot64(SYSENTER_CS) & 0xfffcn);
  vcpu.rflags &= ~BigInt(Flag.VM | Flag.IF | Flag.RF);
  enterFlat(vcpu, selector, selector + 8, 0);
  vcpu.gpr[RSP] = vcpu.slot64(SYSENTER_ESP) & LOW;
  vcpu.rip = vcpu.slot64(SYSENTER_EIP) & LOW;
  return 'done';
};

export const sysexit: Native = ({ vcpu, privileged }) => {
  if (isLongMode(vcpu)) return undefinedOpcode;
  if (isOff(vcpu) || isVirtual8086(vcpu) || (vcpu.cpl !== 0 && !privileged)) return protection();
  const selector = Number(vcpu.slot64(SYSENTER_CS) & 0xfffcn);
  enterFlat(vcpu, selector + 16, selector + 24, 3);
  vcpu.gpr[RSP] = vcpu.gpr[RCX] & LOW;
  vcpu.rip = vcpu.gpr[RDX] & LOW;
  return 'done';
};
