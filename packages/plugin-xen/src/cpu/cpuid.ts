import type { Machine } from '@polyvisor/plugin-api';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { Domid } from '../hypercall/domid.ts';

export interface CpuidLeaf {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** First of Xen's leaves, unless another interface has them (public/arch-x86/cpuid.h). */
export const XEN_LEAF_BASE = 0x4000_0000;
const XEN_LAST_LEAF = 5;
const NO_LEAF: CpuidLeaf = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
export const XEN_VERSION = (4 << 16) | 17;
/** Machine addresses of the emulated PC end below 4 GiB; leaf +5 says how many bits they need. */
const MACHINE_ADDRESS_BITS = 32;

/** Leaf 1 EDX features a PV guest cannot use: VME, PSE, MTRR, PGE, SEP, PSE-36, and ACPI/TM/DS of the hardware. */
const HIDDEN_1_EDX =
  (1 << 1) | (1 << 3) | (1 << 11) | (1 << 12) | (1 << 13) | (1 << 17) | (1 << 21) | (1 << 22) | (1 << 29);
/** Leaf 1 ECX: DTES64, MONITOR, DS-CPL, VMX, SMX, EIST, TM2, PDCM, PCID, DCA, x2APIC, TSC-deadline. */
const HIDDEN_1_ECX =
  (1 << 2) |
  (1 << 3) |
  (1 << 4) |
  (1 << 5) |
  (1 << 6) |
  (1 << 7) |
  (1 << 8) |
  (1 << 15) |
  (1 << 17) |
  (1 << 18) |
  (1 << 21) |
  (1 << 24);
/** XSAVE and OSXSAVE: the vCPU interface carries the legacy FXSAVE state only. */
const XSAVE = (1 << 26) | (1 << 27) | (1 << 28);
const HYPERVISOR = 1 << 31;
/** Leaf 7 EBX: SMEP, INVPCID, SMAP, MPX; ECX: UMIP, PKU, OSPKE, LA57. */
const HIDDEN_7_EBX = (1 << 7) | (1 << 10) | (1 << 14) | (1 << 20);
const HIDDEN_7_ECX = (1 << 2) | (1 << 3) | (1 << 4) | (1 << 16);
/** Leaf 0x80000001 EDX: the shared ones of leaf 1, 1-GByte pages, RDTSCP stays; ECX: SVM, IBS, SKINIT, OSVW. */
const HIDDEN_EXT_EDX = (1 << 1) | (1 << 3) | (1 << 12) | (1 << 13) | (1 << 17) | (1 << 26);
const HIDDEN_EXT_ECX = (1 << 2) | (1 << 3) | (1 << 9) | (1 << 10) | (1 << 12);

/** Leaf 0x80000021 EAX: automatic IBRS, whose bit of EFER is the hypervisor's. */
const HIDDEN_EXT21_EAX = 1 << 8;

/** What a 32-bit processor lacks, and SYSCALL, which Intel's have in 64-bit mode only. Leaf 0x80000001. */
const LONG_MODE_EDX = (1 << 11) | (1 << 29);
const LAHF_LM_ECX = 1 << 0;
/** SYSENTER is in the common list because PV64 kernels on Intel have no use for it; 32-bit ones do. */
const SEP = 1 << 11;

/**
 * What a PV guest sees: the machine's CPU without what direct paging and CPL 3 make unusable (the PV
 * policy of Xen), and Xen's own leaves.
 */
export function pvCpuid(domain: XenDomain, vcpu: XenVcpu, leaf: number, subleaf: number): CpuidLeaf {
  if (leaf >>> 8 === domain.leafBase >>> 8) return xenLeaf(domain, vcpu, leaf - domain.leafBase, subleaf);
  const answer = { ...domain.machine.cpuid(leaf, subleaf) };
  if (leaf === 1) {
    answer.edx &= ~(vcpu.ring1 ? HIDDEN_1_EDX & ~SEP : HIDDEN_1_EDX);
    answer.ecx = (answer.ecx & ~(HIDDEN_1_ECX | XSAVE)) | HYPERVISOR;
    answer.ebx = (answer.ebx & 0x00ff_ffff) | (vcpu.id << 24);
  } else if (leaf === 7 && subleaf === 0) {
    answer.ebx &= ~HIDDEN_7_EBX;
    answer.ecx &= ~HIDDEN_7_ECX;
  } else if (leaf === 0x8000_0001) {
    answer.edx &= ~(vcpu.ring1 ? HIDDEN_EXT_EDX | LONG_MODE_EDX : HIDDEN_EXT_EDX);
    answer.ecx &= ~(vcpu.ring1 ? HIDDEN_EXT_ECX | LAHF_LM_ECX : HIDDEN_EXT_ECX);
  } else if (leaf === 0x8000_0021) {
    answer.eax &= ~HIDDEN_EXT21_EAX;
  } else if (leaf === 0xd || leaf === 0xa || leaf === 5) {
    return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  }
  return answer;
}

/** Leaf 4, for guests on real page tables (XEN_HVM_CPUID_*): EBX has the vCPU's number, ECX the domain's, upcall vectors. */
const HVM_LEAF = (1 << 3) | (1 << 4) | (1 << 6);
/** Leaf 2 ECX, XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: for PV guests. */
const PRESERVE_AD = 1;

/** One of Xen's own leaves, by its distance from the first. */
export function xenLeaf(domain: XenDomain, vcpu: XenVcpu, index: number, subleaf: number): CpuidLeaf {
  const isHvm = domain.kind === 'hvm';
  switch (index) {
    case 0:
      // "XenVMMXenVMM"
      return { eax: domain.leafBase + XEN_LAST_LEAF, ebx: 0x566e_6558, ecx: 0x6558_4d4d, edx: 0x4d4d_566e };
    case 1:
      return { eax: XEN_VERSION, ebx: 0, ecx: 0, edx: 0 };
    case 2:
      // One hypercall page, its MSR, and features.
      return { eax: 1, ebx: domain.leafBase, ecx: isHvm ? 0 : PRESERVE_AD, edx: 0 };
    case 3:
      return timeLeaf(domain.machine, subleaf);
    case 4:
      return isHvm && subleaf === 0 ? { eax: HVM_LEAF, ebx: vcpu.id, ecx: Domid.GUEST, edx: 0 } : NO_LEAF;
    case 5:
      return !isHvm && subleaf === 0 ? { eax: 0, ebx: MACHINE_ADDRESS_BITS, ecx: 0, edx: 0 } : NO_LEAF;
    default:
      return NO_LEAF;
  }
}

/** TSC mode "native", its frequency in kHz; and the scale from ticks to ns of system time. */
function timeLeaf(machine: Machine, subleaf: number): CpuidLeaf {
  const { tscHz } = machine.clock;
  if (subleaf === 0) return { eax: 0, ebx: 2, ecx: Math.round(tscHz / 1000), edx: 0 };
  if (subleaf === 2) return { eax: Math.round(tscHz / 1000), ebx: 0, ecx: 0, edx: 0 };
  return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
}
