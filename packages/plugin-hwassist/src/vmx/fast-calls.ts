/** SYSENTER and SYSEXIT in IA-32e mode, where this vendor's processors have them (SDM vol. 2B); core does them as the other's do. */
import { type ExitAnswer, type ExitOf, Gpr, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { Efer, isCanonical, Rflags } from './checks/state.ts';
import { Msr } from './guest-state.ts';

const VECTOR_GP = 13;
const protection: ExitAnswer = { fault: VECTOR_GP, errorCode: 0 };
const SELECTOR_MASK = 0xfffcn;
const LOW = 0xffff_ffffn;
const RFLAGS_RF = 1n << 16n;
/** Accessed code and data, flat; DPL is to be added. */
const FlatRights = { CODE64: 0xa09b, CODE32: 0xc09b, DATA: 0xc093 } as const;
const ALL = 0xffff_ffff;
const USER = 3;
/** From IA32_SYSENTER_CS on: SS behind CS; and for SYSEXIT the segments of 32-bit and 64-bit code. */
const Offset = { STACK: 8, USER_CODE32: 16, USER_CODE64: 32 } as const;

function enterFlat(vcpu: Vcpu, code: number, codeRights: number, cpl: 0 | 3): void {
  const dpl = cpl << 5;
  const flat = { base: 0n, limit: ALL };
  vcpu.setSegment(SegmentIndex.SS, {
    ...flat,
    selector: (code + Offset.STACK) | cpl,
    accessRights: FlatRights.DATA | dpl,
  });
  vcpu.setSegment(SegmentIndex.CS, { ...flat, selector: code | cpl, accessRights: codeRights | dpl });
  vcpu.cpl = cpl;
}

/** `pass`: not in IA-32e mode. */
export function fastCall(vcpu: Vcpu, exit: ExitOf<'sysenter'> | ExitOf<'sysexit'>): ExitAnswer {
  if ((vcpu.efer & Efer.LMA) === 0n) return 'pass';
  const selector = Number((vcpu.readMsr(Msr.SYSENTER_CS) ?? 0n) & SELECTOR_MASK);
  if (selector === 0) return protection;
  if (exit.kind === 'sysenter') {
    vcpu.rflags &= ~(Rflags.VM | Rflags.IF | RFLAGS_RF);
    enterFlat(vcpu, selector, FlatRights.CODE64, 0);
    vcpu.gpr[Gpr.RSP] = vcpu.readMsr(Msr.SYSENTER_ESP) ?? 0n;
    vcpu.rip = vcpu.readMsr(Msr.SYSENTER_EIP) ?? 0n;
    return 'handled';
  }
  if (vcpu.cpl !== 0) return protection;
  const [rip, rsp] = [vcpu.gpr[Gpr.RDX], vcpu.gpr[Gpr.RCX]];
  const isWide = exit.operandSize === 64;
  if (isWide && !(isCanonical(rip) && isCanonical(rsp))) return protection;
  const code = selector + (isWide ? Offset.USER_CODE64 : Offset.USER_CODE32);
  enterFlat(vcpu, code, isWide ? FlatRights.CODE64 : FlatRights.CODE32, USER);
  vcpu.gpr[Gpr.RSP] = isWide ? rsp : rsp & LOW;
  vcpu.rip = isWide ? rip : rip & LOW;
  return 'handled';
}
