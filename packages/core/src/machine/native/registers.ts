import { CR8, DR, type Slot, TSC_AUX } from '../../cpu/state.ts';
import { PDPTE_RESERVED } from '../../memory/walk.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeAnswer, protection, undefinedOpcode } from './answer.ts';

const CS = 1;
const RAX = 0;
const RCX = 1;
const RDX = 2;
const LOW = 0xffffffffn;

/** Control-register bits that exist here (SDM vol. 3A, 2.5); setting another raises #GP(0). */
const CR0_BITS = 0xe005003fn;
const CR4_BITS = 0x0000_0000_0031_07bcn;
const CR4_DE = 1n << 3n;
const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR0_NW = 1n << 29n;
const CR0_CD = 1n << 30n;
const CR4_PAE = 1n << 5n;
const EFER_BITS = 0xd01n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;

/** MOV from CRn. */
export function readControlRegister(vcpu: MachineVcpu, cr: number): bigint | undefined {
  switch (cr) {
    case 0:
      return vcpu.cr0;
    case 2:
      return vcpu.cr2;
    case 3:
      return vcpu.cr3;
    case 4:
      return vcpu.cr4;
    case 8:
      return vcpu.slot64(CR8);
    default:
      return undefined;
  }
}

/** MOV to CRn with its reserved-bit and consistency checks (SDM vol. 2B, MOV—Move to/from Control Registers). */
export function writeControlRegister(vcpu: MachineVcpu, cr: number, value: bigint): NativeAnswer {
  switch (cr) {
    case 0:
      return writeCr0(vcpu, value);
    case 2:
      vcpu.cr2 = value;
      return 'next';
    case 3:
      if (value >> 52n || pdptesRefused(vcpu, { cr3: value })) return protection();
      vcpu.cr3 = value;
      return 'next';
    case 4:
      if (value & ~CR4_BITS || (vcpu.efer & EFER_LMA && !(value & CR4_PAE))) return protection();
      if (pdptesRefused(vcpu, { cr4: value })) return protection();
      vcpu.cr4 = value;
      return 'next';
    case 8:
      if (value > 15n) return protection();
      vcpu.setSlot64(CR8, value);
      return 'next';
    default:
      return undefinedOpcode;
  }
}

/** PAE paging checks the four PDPTEs when it loads them (SDM vol. 3A, 4.4.1). */
function pdptesRefused(
  vcpu: MachineVcpu,
  { cr0 = vcpu.cr0, cr3 = vcpu.cr3, cr4 = vcpu.cr4 }: { cr0?: bigint; cr3?: bigint; cr4?: bigint },
): boolean {
  if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || vcpu.efer & EFER_LME) return false;
  return vcpu.readPdptes(cr3).some((entry) => entry & 1n && entry & PDPTE_RESERVED);
}

/** LME takes effect with paging: leaving it again is only possible outside 64-bit mode (SDM vol. 3A, 9.8.5). */
function writeCr0(vcpu: MachineVcpu, value: bigint): NativeAnswer {
  const next = (value & CR0_BITS) | 0x10n;
  if (value >> 32n || (next & CR0_PG && !(next & CR0_PE)) || (next & CR0_NW && !(next & CR0_CD))) return protection();
  const pagingOn = next & CR0_PG && !(vcpu.cr0 & CR0_PG);
  const wide = (vcpu.segment(CS).accessRights & AccessRights.L) !== 0;
  if (pagingOn && vcpu.efer & EFER_LME && (!(vcpu.cr4 & CR4_PAE) || wide)) return protection();
  if (!(next & CR0_PG) && vcpu.efer & EFER_LMA && wide) return protection();
  if (pdptesRefused(vcpu, { cr0: next })) return protection();
  if (pagingOn && vcpu.efer & EFER_LME) vcpu.efer |= EFER_LMA;
  if (!(next & CR0_PG)) vcpu.efer &= ~EFER_LMA;
  vcpu.cr0 = next;
  vcpu.flushTlb();
  return 'next';
}

export function readDebugRegister(vcpu: MachineVcpu, index: number): bigint | undefined {
  return isReservedDebugRegister(vcpu, index) ? undefined : vcpu.slot64(debugSlot(index));
}
export function writeDebugRegister(vcpu: MachineVcpu, index: number, value: bigint): NativeAnswer {
  if (isReservedDebugRegister(vcpu, index)) return undefinedOpcode;
  if (index >= 4 && value >> 32n) return protection();
  const slot = debugSlot(index);
  const fixed = slot === DR[6] ? 0xffff0ff0n | (value & 0xe00fn) : slot === DR[7] ? (value & ~0xd000n) | 0x400n : value;
  vcpu.setSlot64(slot, fixed);
  return 'next';
}
/** DR4 and DR5 are DR6 and DR7 while CR4.DE is clear, and raise #UD while it is set; there are no DR8 to DR15. */
const isReservedDebugRegister = (vcpu: MachineVcpu, index: number) =>
  index > 7 || ((index === 4 || index === 5) && (vcpu.cr4 & CR4_DE) !== 0n);
const debugSlot = (index: number): Slot => DR[index === 4 || index === 5 ? index + 2 : index];

/** Register of a system MSR in the vCPU. */
interface MsrAccess {
  read(vcpu: MachineVcpu): bigint;
  write(vcpu: MachineVcpu, value: bigint): NativeAnswer;
}

const canonical = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;

function segmentBase(register: number): MsrAccess {
  return {
    read: (vcpu) => vcpu.segment(register).base,
    write(vcpu, base) {
      if (!canonical(base)) return protection();
      vcpu.setSegment(register, { ...vcpu.segment(register), base });
      return 'next';
    },
  };
}

/** Indexes of MSRs (SDM vol. 4, 2.1). */
const Msr = {
  EFER: 0xc0000080,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
} as const;
/** MSRs with a meaning here. Plain ones are kept in a map of the vCPU. */
const msrs: Readonly<Record<number, MsrAccess>> = {
  [Msr.EFER]: {
    read: (vcpu) => vcpu.efer,
    write(vcpu, value) {
      if (value & ~EFER_BITS) return protection();
      const changesLme = ((value ^ vcpu.efer) & EFER_LME) !== 0n;
      if (changesLme && vcpu.cr0 & CR0_PG) return protection();
      vcpu.efer = (value & ~EFER_LMA) | (vcpu.efer & EFER_LMA);
      return 'next';
    },
  },
  [Msr.FS_BASE]: segmentBase(4),
  [Msr.GS_BASE]: segmentBase(5),
  [Msr.TSC_AUX]: {
    read: (vcpu) => BigInt(vcpu.slot32(TSC_AUX) >>> 0),
    write(vcpu, value) {
      if (value >> 32n) return protection();
      vcpu.setSlot32(TSC_AUX, Number(value) | 0);
      return 'next';
    },
  },
  [Msr.KERNEL_GS_BASE]: {
    read: (vcpu) => vcpu.kernelGsBase,
    write(vcpu, value) {
      if (!canonical(value)) return protection();
      vcpu.kernelGsBase = value;
      return 'next';
    },
  },
};

/** IA32_SYSENTER_*, STAR, LSTAR, CSTAR, FMASK, PAT, MISC_ENABLE: kept, with no checks beyond canonicality. */
const PLAIN_MSRS = new Set([0x174, 0x175, 0x176, 0x277, 0x1a0, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084]);
const ADDRESS_MSRS = new Set([0x175, 0x176, 0xc0000082, 0xc0000083]);

/** RDMSR; an unknown MSR raises #GP(0). */
export function readMsr(vcpu: MachineVcpu): NativeAnswer {
  const index = Number(vcpu.gpr[RCX] & LOW);
  const value = msrs[index]?.read(vcpu) ?? (PLAIN_MSRS.has(index) ? (vcpu.msrs.get(index) ?? 0n) : undefined);
  if (value === undefined) return protection();
  vcpu.gpr[RAX] = value & LOW;
  vcpu.gpr[RDX] = value >> 32n;
  return 'next';
}

/** WRMSR. */
export function writeMsr(vcpu: MachineVcpu): NativeAnswer {
  const index = Number(vcpu.gpr[RCX] & LOW);
  const value = (vcpu.gpr[RAX] & LOW) | ((vcpu.gpr[RDX] & LOW) << 32n);
  const special = msrs[index];
  if (special) return special.write(vcpu, value);
  if (!PLAIN_MSRS.has(index) || (ADDRESS_MSRS.has(index) && !canonical(value))) return protection();
  vcpu.msrs.set(index, value);
  return 'next';
}
