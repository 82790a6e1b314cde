import type { BootDescriptor } from '@polyvisor/plugin-api';
import { descriptorLeaf, isDescriptorLeaf } from './boot-descriptor.ts';

/** What CPUID answers: what the engine implements, and nothing else (SDM vol. 2A, CPUID). */
export interface CpuidAnswer {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** What the answers depend on beside the engine. */
export interface CpuidSurroundings {
  readonly vcpus: number;
  readonly tscHz: number;
  /** The processor's local APIC, if the platform has any. `enabled`: by IA32_APIC_BASE. */
  readonly apic: { readonly id: number; readonly enabled: boolean } | undefined;
  /** What IA32_MISC_ENABLE takes away: basic leaves above 2, and NX. */
  readonly limited: { readonly leaves: boolean; readonly noExecute: boolean };
  /** Whether there are random numbers. */
  readonly random: boolean;
  readonly bootDescriptor: BootDescriptor;
  /** Whether the guest's kernel may register operations. */
  readonly takesOps: boolean;
}

const bits = (...positions: number[]) => positions.reduce((all, bit) => all | (1 << bit), 0);

/** Family 15, model 6, stepping 1: a plain early x86-64, which is what is implemented. */
export const SIGNATURE = 0x00000f61;
/** CX16, PCID, POPCNT, and that a hypervisor is there. */
const LEAF1_ECX = bits(13, 17, 23, 31);
/** With a local APIC: x2APIC, TSC-deadline timer. */
const LEAF1_ECX_APIC = bits(21, 24);
const LEAF1_ECX_RDRAND = bits(30);
/** FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, MTRR, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2. SEP is for legacy mode, as AMD's is. */
const LEAF1_EDX = bits(0, 2, 3, 4, 5, 6, 8, 11, 12, 13, 15, 16, 19, 23, 24, 25, 26);
const LEAF1_EDX_APIC = bits(9);
/** More than one logical processor in the package: EBX 23:16 counts (HTT). */
const LEAF1_EDX_MULTIPLE = bits(28);
/** The local APIC's timer runs in every C-state. */
const LEAF6_EAX_ARAT = bits(2);
/** FSGSBASE, SMEP, INVPCID, SMAP. */
const LEAF7_EBX = bits(0, 7, 10, 20);
const LEAF7_EBX_RDSEED = bits(18);
/** With a platform of chips: IA32_TSC_ADJUST. */
const LEAF7_EBX_TSC_ADJUST = bits(1);
/** Those of leaf 1 EDX that AMD's processors show here again. */
const EXTENDED1_SHARED_EDX = 0x0183f3ff;
/** With several processors: the count of leaf 1 is of cores, not of threads (AMD APM vol. 3, CmpLegacy). */
const EXTENDED1_ECX_MULTIPLE = bits(1);
/** LAHF and SAHF in 64-bit mode, PREFETCHW. */
const EXTENDED1_ECX = bits(0, 8);
/** SYSCALL, NX, 1-GiB pages, RDTSCP, long mode. */
const EXTENDED1_EDX = bits(11, 20, 26, 27, 29);
const EXTENDED1_NX = bits(20);
const CLFLUSH_LINE = 8;
/** With "limit CPUID maxval" (SDM vol. 4, IA32_MISC_ENABLE bit 22). */
const LIMITED_LEAF = 2;
const MAX_LEAF = 7;
/** With a local APIC, whose timer and TSC leaves 15H and 16H describe. */
const MAX_LEAF_APIC = 0x16;
/** Level types of leaf 0BH: threads, cores. */
const Level = { SMT: 1, CORE: 2 } as const;
const MAX_EXTENDED_LEAF = 0x80000021;
/** Physical and linear address bits. */
const ADDRESS_SIZES = 40 | (48 << 8);
const INVARIANT_TSC = bits(8);
/** 80000008 EBX: FXSAVE and FXRSTOR always keep the x87 error pointers (AMD APM vol. 3, RstrFpErrPtrs). */
const KEEPS_ERROR_POINTERS = bits(2);
/**
 * 80000021 EAX: automatic IBRS (AMD APM vol. 2, 3.2.9). No branch is predicted here, least of all by what code of another level has left;
 * kernels that are told so need not go round each of their indirect calls.
 */
const AUTOMATIC_IBRS = bits(8);
const VENDOR = 'AuthenticAMD';
const BRAND = 'Polyvisor x86-64 CPU'.padEnd(48, '\0');

const word = (text: string, at: number) =>
  text.charCodeAt(at) |
  (text.charCodeAt(at + 1) << 8) |
  (text.charCodeAt(at + 2) << 16) |
  (text.charCodeAt(at + 3) << 24);

export function cpuid(leaf: number, subleaf: number, surroundings: CpuidSurroundings): CpuidAnswer {
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const { apic, limited } = surroundings;
  if (isDescriptorLeaf(leaf)) return descriptorLeaf(leaf, surroundings.bootDescriptor, surroundings.takesOps);
  switch (leaf >>> 0) {
    case 0:
      return {
        eax: limited.leaves ? LIMITED_LEAF : apic ? MAX_LEAF_APIC : MAX_LEAF,
        ebx: word(VENDOR, 0),
        edx: word(VENDOR, 4),
        ecx: word(VENDOR, 8),
      };
    case 1:
      return features(surroundings);
    case 6:
      return apic ? { ...none, eax: LEAF6_EAX_ARAT } : none;
    case 7:
      return subleaf === 0 ? { ...none, ebx: structuredFeatures(surroundings) } : none;
    case 0xb:
      return topology(subleaf, surroundings);
    case 0x15:
      return apic ? timeStampRatio(surroundings.tscHz) : none;
    case 0x16:
      return apic ? frequencies(surroundings.tscHz) : none;
    case 0x80000000:
      return { ...none, eax: MAX_EXTENDED_LEAF, ebx: word(VENDOR, 0), edx: word(VENDOR, 4), ecx: word(VENDOR, 8) };
    case 0x80000001: {
      const shared = features(surroundings).edx & EXTENDED1_SHARED_EDX;
      const own = limited.noExecute ? EXTENDED1_EDX & ~EXTENDED1_NX : EXTENDED1_EDX;
      const multiple = processorsOf(surroundings) > 1 ? EXTENDED1_ECX_MULTIPLE : 0;
      return { eax: SIGNATURE, ebx: 0, ecx: EXTENDED1_ECX | multiple, edx: own | shared };
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = ((leaf >>> 0) - 0x80000002) * 16;
      return { eax: word(BRAND, at), ebx: word(BRAND, at + 4), ecx: word(BRAND, at + 8), edx: word(BRAND, at + 12) };
    }
    case 0x80000007:
      return { ...none, edx: INVARIANT_TSC };
    case 0x80000008:
      return { eax: ADDRESS_SIZES, ebx: KEEPS_ERROR_POINTERS, ecx: coreCount(surroundings), edx: 0 };
    case 0x80000021:
      return { ...none, eax: AUTOMATIC_IBRS };
    default:
      return none;
  }
}

/** How many there are to see: without local APICs nothing tells them apart. */
const processorsOf = ({ apic, vcpus }: CpuidSurroundings): number => (apic ? vcpus : 1);
/** 80000008 ECX: cores less one; bits of the APIC ID that number them, from bit 12 on (AMD APM vol. 3). */
function coreCount(surroundings: CpuidSurroundings): number {
  const processors = processorsOf(surroundings);
  return (processors - 1) | (Math.ceil(Math.log2(processors)) << 12);
}

/** Leaf 1. */
function features(surroundings: CpuidSurroundings): CpuidAnswer {
  const { apic } = surroundings;
  const processors = processorsOf(surroundings);
  const ebx = ((apic?.id ?? 0) << 24) | (processors << 16) | (CLFLUSH_LINE << 8);
  const edx = LEAF1_EDX | (apic?.enabled ? LEAF1_EDX_APIC : 0) | (processors > 1 ? LEAF1_EDX_MULTIPLE : 0);
  const ecx = LEAF1_ECX | (apic ? LEAF1_ECX_APIC : 0) | (surroundings.random ? LEAF1_ECX_RDRAND : 0);
  return { eax: SIGNATURE, ebx, ecx, edx };
}

const structuredFeatures = ({ apic, random }: CpuidSurroundings) =>
  LEAF7_EBX | (apic ? LEAF7_EBX_TSC_ADJUST : 0) | (random ? LEAF7_EBX_RDSEED : 0);

/** Leaf 0BH: one thread to a core, as many cores in the package as there are vCPUs. */
function topology(subleaf: number, { apic, vcpus }: CpuidSurroundings): CpuidAnswer {
  if (!apic) return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  if (subleaf === 0) return { eax: 0, ebx: 1, ecx: (Level.SMT << 8) | subleaf, edx: apic.id };
  if (subleaf === 1)
    return { eax: Math.ceil(Math.log2(vcpus)), ebx: vcpus, ecx: (Level.CORE << 8) | subleaf, edx: apic.id };
  return { eax: 0, ebx: 0, ecx: subleaf & 0xff, edx: apic.id };
}

/** Leaf 15H: the TSC's ratio to the crystal clock, which is the local APIC timer's too. */
const timeStampRatio = (tscHz: number): CpuidAnswer => ({ eax: 1, ebx: 1, ecx: tscHz, edx: 0 });
/** Leaf 16H: base, maximum and bus frequency in MHz. */
function frequencies(tscHz: number): CpuidAnswer {
  const mhz = Math.round(tscHz / 1e6);
  return { eax: mhz, ebx: mhz, ecx: mhz, edx: 0 };
}
