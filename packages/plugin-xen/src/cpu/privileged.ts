import { type ExitAnswer, type ExitOf, Gpr } from '@polyvisor/plugin-api';
import type { XenVcpu } from '../domain.ts';
import { ENODEV } from '../errno.ts';
import { loadKernelRoot } from '../mm/roots.ts';
import type { PvDomain } from '../pvDomain.ts';
import { setTaskSwitched } from './calls.ts';
import { cr3Frame, paeCr3, paeCr3Frame } from './controlRegisters.ts';
import { pvCpuid } from './cpuid.ts';
import { readDebugRegister, writeDebugRegister } from './debugRegisters.ts';
import { ioplOk } from './io.ts';
import { readMsr, writeMsr } from './msr.ts';
import { readGuestCr2, writeGuestCr2 } from './traps.ts';

const CR0_TS = 8n;
/** CR4 bits a guest may choose: TSD, DE, FSGSBASE. OSXSAVE is not: XSAVE is hidden. */
const CR4_GUEST = (1n << 2n) | (1n << 3n) | (1n << 16n);
/** Of those, the ones the hardware takes over. */
const CR4_HARDWARE = (1n << 2n) | (1n << 3n) | (1n << 16n);
const LOW = 0xffff_ffffn;
/** IA32_TSC_AUX is the processor's own: RDTSCP reads it without an exit. */
const TSC_AUX = 0xc000_0103n;
const UD = { fault: 6 } as const;

/**
 * Privileged instructions of the guest kernel, which all fault at CPL 3 and which Xen emulates
 * (xen/arch/x86/pv, the privileged-operation emulator). `pass` leaves the CPU's own fault standing.
 */
export const privileged = {
  cpuid(domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    executeCpuid(domain, vcpu);
    return 'handled';
  },

  rdmsr(domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    const { gpr } = vcpu.cpu;
    if ((gpr[Gpr.RCX] & LOW) === TSC_AUX) return 'common';
    const value = readMsr(domain, vcpu, Number(gpr[Gpr.RCX] & LOW));
    if (value === undefined) return 'pass';
    gpr[Gpr.RAX] = value & LOW;
    gpr[Gpr.RDX] = (value >> 32n) & LOW;
    return 'handled';
  },

  wrmsr(_domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    const { gpr } = vcpu.cpu;
    if ((gpr[Gpr.RCX] & LOW) === TSC_AUX) return 'common';
    const value = ((gpr[Gpr.RDX] & LOW) << 32n) | (gpr[Gpr.RAX] & LOW);
    return writeMsr(vcpu, Number(gpr[Gpr.RCX] & LOW), value) ? 'handled' : 'pass';
  },

  readCr(domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<'readCr'>): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    const value = readControl(domain, vcpu, exit.cr);
    if (value === undefined) return 'pass';
    vcpu.cpu.gpr[exit.gpr] = value;
    return 'handled';
  },

  writeCr(domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<'writeCr'>): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    return writeControl(domain, vcpu, exit.cr, vcpu.cpu.gpr[exit.gpr]) ? 'handled' : 'pass';
  },

  clts(_domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    setTaskSwitched(vcpu, false);
    return 'handled';
  },

  readDr(_domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<'readDr'>): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    const value = readDebugRegister(vcpu, exit.dr);
    if (value === undefined) return UD;
    vcpu.cpu.gpr[exit.gpr] = value;
    return 'handled';
  },

  writeDr(_domain: PvDomain, vcpu: XenVcpu, exit: ExitOf<'writeDr'>): ExitAnswer {
    if (!vcpu.kernelMode) return 'pass';
    const result = writeDebugRegister(vcpu, exit.dr, vcpu.cpu.gpr[exit.gpr]);
    if (result === ENODEV) return UD;
    return result === 0n ? 'handled' : 'pass';
  },

  wbinvd(_domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    return vcpu.kernelMode ? 'handled' : 'pass';
  },

  /** With enough IOPL CLI and STI do nothing (events are masked in vcpu_info); without, #GP. */
  interruptFlag(domain: PvDomain, vcpu: XenVcpu): ExitAnswer {
    return ioplOk(domain, vcpu) ? 'handled' : 'pass';
  },
} as const;

export function executeCpuid(domain: PvDomain, vcpu: XenVcpu): void {
  const { gpr } = vcpu.cpu;
  const answer = pvCpuid(domain, vcpu, Number(gpr[Gpr.RAX] & LOW), Number(gpr[Gpr.RCX] & LOW));
  gpr[Gpr.RAX] = BigInt(answer.eax >>> 0);
  gpr[Gpr.RBX] = BigInt(answer.ebx >>> 0);
  gpr[Gpr.RCX] = BigInt(answer.ecx >>> 0);
  gpr[Gpr.RDX] = BigInt(answer.edx >>> 0);
}

function readControl(domain: PvDomain, vcpu: XenVcpu, register: number): bigint | undefined {
  switch (register) {
    case 0:
      return vcpu.cpu.cr0;
    case 2:
      return readGuestCr2(domain, vcpu);
    case 3:
      return vcpu.ring1 ? paeCr3(vcpu.kernelRootMfn) : BigInt(vcpu.kernelRootMfn) << 12n;
    case 4:
      return vcpu.cr4;
    default:
      return undefined;
  }
}

function writeControl(domain: PvDomain, vcpu: XenVcpu, register: number, value: bigint): boolean {
  switch (register) {
    case 0:
      if (((value ^ vcpu.cpu.cr0) & ~CR0_TS) !== 0n) return false;
      setTaskSwitched(vcpu, (value & CR0_TS) !== 0n);
      return true;
    case 2:
      writeGuestCr2(domain, vcpu, value);
      return true;
    case 3:
      return loadKernelRoot(domain.mm, vcpu, vcpu.ring1 ? paeCr3Frame(value) : cr3Frame(value)) === 0;
    case 4:
      vcpu.cr4 = (vcpu.cr4 & ~CR4_GUEST) | (value & CR4_GUEST);
      vcpu.cpu.cr4 = (vcpu.cpu.cr4 & ~CR4_HARDWARE) | (vcpu.cr4 & CR4_HARDWARE);
      return true;
    default:
      return false;
  }
}
