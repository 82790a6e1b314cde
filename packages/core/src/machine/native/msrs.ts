import type { Segment } from '@polyvisor/plugin-api';
import { FMASK, LSTAR, type Slot, STAR, SYSENTER_CS, SYSENTER_EIP, SYSENTER_ESP, TSC_AUX } from '../../cpu/state.ts';
import type { ProcessorPlatform } from '../platform/processor.ts';
import type { StateBlock } from '../state-block.ts';
import { type NativeAnswer, protection } from './answer.ts';
import type { CpuidSurroundings } from './cpuid.ts';
import { isMtrr, MTRR_CAPABILITY, Mtrr, mtrrRefused, patRefused } from './memory-types.ts';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const LOW = 0xffffffffn;
/** SCE, LME, LMA, NXE. */
/** SCE, LME, LMA, NXE, and AIBRSE, which changes nothing here. */
const EFER_BITS = 0x20_0d01n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
const EFER_NXE = 1n << 11n;
const CR0_PG = 1n << 31n;

/** What MSRs are of, and what they change. */
interface Processor extends StateBlock {
  readonly platform: ProcessorPlatform;
  readonly msrs: Map<number, bigint>;
  readonly cr0: bigint;
  efer: bigint;
  kernelGsBase: bigint;
  setSegment(index: number, segment: Segment): void;
}

/** Register of a system MSR in the vCPU. */
interface MsrAccess {
  read(vcpu: Processor): bigint;
  /** `false`: #GP(0). */
  write(vcpu: Processor, value: bigint): boolean;
}

const canonical = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;
const never = () => false;

function segmentBase(register: number): MsrAccess {
  return {
    read: (vcpu) => vcpu.segment(register).base,
    write(vcpu, base) {
      if (!canonical(base)) return false;
      vcpu.setSegment(register, { ...vcpu.segment(register), base });
      return true;
    },
  };
}

/** A register that only keeps what `refused` lets through. */
function kept(index: number, refused: (value: bigint) => boolean = never): MsrAccess {
  return {
    read: (vcpu) => vcpu.msrs.get(index) ?? INITIAL[index] ?? 0n,
    write(vcpu, value) {
      if (refused(value)) return false;
      vcpu.msrs.set(index, value);
      return true;
    },
  };
}

/** A register of the state block. */
function inSlot(slot: Slot, refused: (value: bigint) => boolean = never): MsrAccess {
  return {
    read: (vcpu) => vcpu.slot64(slot),
    write(vcpu, value) {
      if (refused(value)) return false;
      vcpu.setSlot64(slot, value);
      return true;
    },
  };
}

/** Indexes of MSRs (SDM vol. 4, 2.1; AMD APM vol. 2, appendix A). */
const Msr = {
  TSC: 0x10,
  TSC_ADJUST: 0x3b,
  MCG_CAP: 0x179,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MISC_ENABLE: 0x1a0,
  DEBUGCTL: 0x1d9,
  PAT: 0x277,
  PERF_CONTROL_0: 0xc0010000,
  SYSCFG: 0xc0010010,
  HWCR: 0xc0010015,
  EFER: 0xc0000080,
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  CSTAR: 0xc0000083,
  FMASK: 0xc0000084,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
} as const;
/** Bits of IA32_MISC_ENABLE (SDM vol. 4, table 2-2): those that CPUID follows. */
const MiscEnable = { limitCpuid: 1n << 22n, disableXd: 1n << 34n } as const;
/**
 * What can be written: these, and fast strings, thermal control, SpeedStep, the MONITOR FSM and xTPR messages, which change nothing
 * here. The others are reserved, or of features that are not there.
 */
const MISC_ENABLE_BITS = [0n, 3n, 16n, 18n, 22n, 23n, 34n].reduce((all, bit) => all | (1n << bit), 0n);
/** What can only be read: there are no branch trace store and no PEBS. */
const MISC_ENABLE_UNAVAILABLE = (1n << 11n) | (1n << 12n);
/** DbgCtl: BTF and PB0 to 3, which change nothing here (AMD APM vol. 2, 13.1.1.6). NOT IMPLEMENTED: LBR. */
const DEBUGCTL_BITS = 0x3en;
/** SYSCFG: MtrrFixDramEn, MtrrFixDramModEn, MtrrVarDramEn, MtrrTom2En (AMD APM vol. 2, 3.2.6); kept. */
const SYSCFG_BITS = 0xfn << 18n;
const INITIAL: Readonly<Record<number, bigint>> = {
  // Fast strings.
  [Msr.MISC_ENABLE]: 1n,
  // WB, WT, UC-, UC, twice (SDM vol. 3A, table 11-12).
  [Msr.PAT]: 0x0007040600070406n,
};
/** PerfCtl0 to 3 and PerfCtr0 to 3, which every AMD processor has (AMD APM vol. 2, 13.2.1). */
const PERF_MSRS = 8;
/** Nothing is counted: what is written is dropped, so that a kernel's test of them finds that they do not work. */
const counterOff: MsrAccess = { read: () => 0n, write: () => true };

const notCanonical = (value: bigint) => !canonical(value);
const wide = (value: bigint) => value >> 32n !== 0n;

const keptMiscEnable = kept(Msr.MISC_ENABLE, (value) => (value & ~MISC_ENABLE_BITS) !== 0n);
const miscEnable: MsrAccess = {
  read: (vcpu) => keptMiscEnable.read(vcpu) | MISC_ENABLE_UNAVAILABLE,
  // What is read-only is not looked at, so that a value can be written back.
  write: (vcpu, value) => keptMiscEnable.write(vcpu, value & ~MISC_ENABLE_UNAVAILABLE),
};
const hidesNoExecute = (vcpu: Processor) => (miscEnable.read(vcpu) & MiscEnable.disableXd) !== 0n;

/** What IA32_MISC_ENABLE takes away from CPUID's answers. */
export function limitedCpuid(vcpu: Processor): CpuidSurroundings['limited'] {
  return { leaves: (miscEnable.read(vcpu) & MiscEnable.limitCpuid) !== 0n, noExecute: hidesNoExecute(vcpu) };
}

const efer: MsrAccess = {
  read: (vcpu) => vcpu.efer,
  write(vcpu, value) {
    if (value & ~EFER_BITS) return false;
    if (value & EFER_NXE && hidesNoExecute(vcpu)) return false;
    const changesLme = ((value ^ vcpu.efer) & EFER_LME) !== 0n;
    if (changesLme && vcpu.cr0 & CR0_PG) return false;
    vcpu.efer = (value & ~EFER_LMA) | (vcpu.efer & EFER_LMA);
    return true;
  },
};
const tsc: MsrAccess = {
  read: (vcpu) => vcpu.platform.tsc.read(),
  write(vcpu, value) {
    vcpu.platform.tsc.write(value);
    return true;
  },
};
const tscAdjust: MsrAccess = {
  read: (vcpu) => vcpu.platform.tsc.adjust,
  write(vcpu, value) {
    vcpu.platform.tsc.adjust = value;
    return true;
  },
};
const tscAux: MsrAccess = {
  read: (vcpu) => BigInt(vcpu.slot32(TSC_AUX) >>> 0),
  write(vcpu, value) {
    if (wide(value)) return false;
    vcpu.setSlot32(TSC_AUX, Number(value) | 0);
    return true;
  },
};
const kernelGsBase: MsrAccess = {
  read: (vcpu) => vcpu.kernelGsBase,
  write(vcpu, value) {
    if (!canonical(value)) return false;
    vcpu.kernelGsBase = value;
    return true;
  },
};

const msrs: ReadonlyMap<number, MsrAccess> = new Map<number, MsrAccess>([
  [Msr.TSC, tsc],
  [Msr.TSC_ADJUST, tscAdjust],
  [Msr.SYSENTER_CS, inSlot(SYSENTER_CS)],
  [Msr.SYSENTER_ESP, inSlot(SYSENTER_ESP, notCanonical)],
  [Msr.SYSENTER_EIP, inSlot(SYSENTER_EIP, notCanonical)],
  [Msr.MISC_ENABLE, miscEnable],
  // CPUID says that there is no machine-check architecture; who reads this without asking finds no banks.
  [Msr.MCG_CAP, { read: () => 0n, write: never }],
  [Mtrr.CAPABILITY, { read: () => MTRR_CAPABILITY, write: never }],
  [Msr.DEBUGCTL, kept(Msr.DEBUGCTL, (value) => (value & ~DEBUGCTL_BITS) !== 0n)],
  [Msr.PAT, kept(Msr.PAT, patRefused)],
  ...Array.from({ length: PERF_MSRS }, (_, i): [number, MsrAccess] => [Msr.PERF_CONTROL_0 + i, counterOff]),
  [Msr.SYSCFG, kept(Msr.SYSCFG, (value) => (value & ~SYSCFG_BITS) !== 0n)],
  [Msr.HWCR, kept(Msr.HWCR, wide)],
  [Msr.EFER, efer],
  [Msr.STAR, inSlot(STAR)],
  [Msr.LSTAR, inSlot(LSTAR, notCanonical)],
  [Msr.CSTAR, kept(Msr.CSTAR, notCanonical)],
  [Msr.FMASK, inSlot(FMASK, wide)],
  [Msr.FS_BASE, segmentBase(4)],
  [Msr.GS_BASE, segmentBase(5)],
  [Msr.KERNEL_GS_BASE, kernelGsBase],
  [Msr.TSC_AUX, tscAux],
]);

function accessOf(vcpu: Processor, index: number): MsrAccess | undefined {
  if (isMtrr(index)) return kept(index, (value) => mtrrRefused(index, value));
  const { platform } = vcpu;
  if (!platform.hasMsr(index)) return msrs.get(index);
  return {
    read: () => platform.readMsr(index) as bigint,
    write: (_vcpu, value) => platform.writeMsr(index, value),
  };
}

/** An MSR's value; `undefined`: there is none of this index. */
export const readMsrOf = (vcpu: Processor, index: number): bigint | undefined => accessOf(vcpu, index)?.read(vcpu);
/** False: it does not take that, or there is none. */
export const writeMsrOf = (vcpu: Processor, index: number, value: bigint): boolean =>
  accessOf(vcpu, index)?.write(vcpu, value) ?? false;

/** RDMSR; an unknown MSR raises #GP(0). */
export function readMsr(vcpu: Processor): NativeAnswer {
  const value = readMsrOf(vcpu, Number(vcpu.gpr[RCX] & LOW));
  if (value === undefined) return protection();
  vcpu.gpr[RAX] = value & LOW;
  vcpu.gpr[RDX] = value >> 32n;
  return 'next';
}

/** WRMSR; what the register does not take raises #GP(0). */
export function writeMsr(vcpu: Processor): NativeAnswer {
  const value = (vcpu.gpr[RAX] & LOW) | ((vcpu.gpr[RDX] & LOW) << 32n);
  return writeMsrOf(vcpu, Number(vcpu.gpr[RCX] & LOW), value) ? 'next' : protection();
}
