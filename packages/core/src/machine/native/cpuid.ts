/** What CPUID answers: what the engine implements, and nothing else (SDM vol. 2A, CPUID). */
export interface CpuidAnswer {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

const bits = (...positions: number[]) => positions.reduce((all, bit) => all | (1 << bit), 0);

/** Family 15, model 6, stepping 1: a plain early x86-64, which is what is implemented. */
const SIGNATURE = 0x00000f61;
/** CX16, POPCNT, and that a hypervisor is there. */
const LEAF1_ECX = bits(13, 23, 31);
/** FPU, DE, PSE, TSC, MSR, PAE, CX8, SEP, PGE, CMOV, PAT, CLFSH, MMX, FXSR, SSE, SSE2. SEP is for legacy mode, as AMD's is. */
const LEAF1_EDX = bits(0, 2, 3, 4, 5, 6, 8, 11, 13, 15, 16, 19, 23, 24, 25, 26);
/** FSGSBASE, SMEP, SMAP. */
const LEAF7_EBX = bits(0, 7, 20);
/** Those of leaf 1 EDX that AMD's processors show here again. */
const EXTENDED1_SHARED_EDX = 0x0183f3ff;
/** LAHF and SAHF in 64-bit mode, PREFETCHW. */
const EXTENDED1_ECX = bits(0, 8);
/** SYSCALL, NX, 1-GiB pages, RDTSCP, long mode. */
const EXTENDED1_EDX = bits(11, 20, 26, 27, 29);
const CLFLUSH_LINE = 8;
const MAX_LEAF = 7;
const MAX_EXTENDED_LEAF = 0x80000008;
/** Physical and linear address bits. */
const ADDRESS_SIZES = 40 | (48 << 8);
const INVARIANT_TSC = bits(8);
/** 80000008 EBX: FXSAVE and FXRSTOR always keep the x87 error pointers (AMD APM vol. 3, RstrFpErrPtrs). */
const KEEPS_ERROR_POINTERS = bits(2);
const VENDOR = 'AuthenticAMD';
const BRAND = 'Polyvisor x86-64 CPU'.padEnd(48, '\0');

const word = (text: string, at: number) =>
  text.charCodeAt(at) |
  (text.charCodeAt(at + 1) << 8) |
  (text.charCodeAt(at + 2) << 16) |
  (text.charCodeAt(at + 3) << 24);

export function cpuid(leaf: number, subleaf: number): CpuidAnswer {
  const none = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  switch (leaf >>> 0) {
    case 0:
      return { eax: MAX_LEAF, ebx: word(VENDOR, 0), edx: word(VENDOR, 4), ecx: word(VENDOR, 8) };
    case 1:
      return { eax: SIGNATURE, ebx: (CLFLUSH_LINE << 8) | (1 << 16), ecx: LEAF1_ECX, edx: LEAF1_EDX };
    case 7:
      return subleaf === 0 ? { ...none, ebx: LEAF7_EBX } : none;
    case 0x80000000:
      return { ...none, eax: MAX_EXTENDED_LEAF, ebx: word(VENDOR, 0), edx: word(VENDOR, 4), ecx: word(VENDOR, 8) };
    case 0x80000001:
      return { ...none, eax: SIGNATURE, ecx: EXTENDED1_ECX, edx: EXTENDED1_EDX | (LEAF1_EDX & EXTENDED1_SHARED_EDX) };
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const at = ((leaf >>> 0) - 0x80000002) * 16;
      return { eax: word(BRAND, at), ebx: word(BRAND, at + 4), ecx: word(BRAND, at + 8), edx: word(BRAND, at + 12) };
    }
    case 0x80000007:
      return { ...none, edx: INVARIANT_TSC };
    case 0x80000008:
      return { ...none, eax: ADDRESS_SIZES, ebx: KEEPS_ERROR_POINTERS };
    default:
      return none;
  }
}
