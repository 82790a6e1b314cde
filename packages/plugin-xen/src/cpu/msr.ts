import { SegmentIndex } from '@polyvisor/plugin-api';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { baseOf, setBase } from './segments.ts';

/** MSRs that a PV64 kernel may read or write through emulation (SDM vol. 4). */
const Msr = {
  TSC: 0x10,
  PLATFORM_ID: 0x17,
  APIC_BASE: 0x1b,
  UCODE_REV: 0x8b,
  ARCH_CAPABILITIES: 0x10a,
  MISC_ENABLE: 0x1a0,
  DEBUGCTL: 0x1d9,
  PAT: 0x277,
  PERF_CAPABILITIES: 0x345,
  EFER: 0xc000_0080,
  FS_BASE: 0xc000_0100,
  GS_BASE: 0xc000_0101,
  KERNEL_GS_BASE: 0xc000_0102,
  K8_HWCR: 0xc001_0015,
} as const;

const APIC_DEFAULT_BASE = 0xfee0_0000n;
const APIC_ENABLE = 1n << 11n;
const APIC_BSP = 1n << 8n;
/** Xen's own PAT: WB WT UC- UC WC WP UC UC. */
const XEN_PAT = 0x0000_0501_0007_0406n | (5n << 40n);
/** MISC_ENABLE as a PV guest reads it: fast strings, BTS and PEBS unavailable, xTPR disabled. */
const MISC_ENABLE = 1n | (1n << 11n) | (1n << 12n) | (1n << 23n);

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** A 32-bit guest has no segment bases beyond its descriptors. */
function isLongModeMsr(msr: number): boolean {
  return msr >= Msr.FS_BASE && msr <= Msr.KERNEL_GS_BASE;
}

/** Value of an MSR for the guest kernel, or `undefined` for #GP. */
export function readMsr(domain: XenDomain, vcpu: XenVcpu, msr: number): bigint | undefined {
  if (vcpu.ring1 && isLongModeMsr(msr)) return undefined;
  switch (msr) {
    case Msr.TSC:
      return domain.clock.tsc();
    case Msr.APIC_BASE:
      return APIC_DEFAULT_BASE | APIC_ENABLE | (vcpu.id === 0 ? APIC_BSP : 0n);
    case Msr.MISC_ENABLE:
      return MISC_ENABLE;
    case Msr.PAT:
      return XEN_PAT;
    case Msr.PLATFORM_ID:
    case Msr.UCODE_REV:
    case Msr.PERF_CAPABILITIES:
    case Msr.DEBUGCTL:
      return 0n;
    case Msr.EFER:
      return vcpu.cpu.efer;
    case Msr.FS_BASE:
      return baseOf(vcpu, SegmentIndex.FS);
    case Msr.GS_BASE:
      return baseOf(vcpu, SegmentIndex.GS);
    case Msr.KERNEL_GS_BASE:
      return vcpu.cpu.kernelGsBase;
    default:
      return undefined;
  }
}

/** `true`: written (or, as Xen does, silently dropped); `false`: #GP. */
export function writeMsr(vcpu: XenVcpu, msr: number, value: bigint): boolean {
  if (vcpu.ring1 && isLongModeMsr(msr)) return false;
  switch (msr) {
    case Msr.FS_BASE:
    case Msr.GS_BASE:
    case Msr.KERNEL_GS_BASE:
      if (!isCanonical(value)) return false;
      if (msr === Msr.FS_BASE) setBase(vcpu, SegmentIndex.FS, value);
      else if (msr === Msr.GS_BASE) setBase(vcpu, SegmentIndex.GS, value);
      else vcpu.cpu.kernelGsBase = value;
      return true;
    case Msr.EFER:
      return value === vcpu.cpu.efer;
    case Msr.MISC_ENABLE:
    case Msr.UCODE_REV:
      return true;
    default:
      return false;
  }
}
