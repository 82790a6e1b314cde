/** What of CPUID is this vendor's (SDM vol. 2A, CPUID). */
import type { CpuidLeaf } from '../assist.ts';

const Leaf = {
  VENDOR: 0,
  FEATURES: 1,
  STRUCTURED: 7,
  EXTENDED_VENDOR: 0x8000_0000,
  EXTENDED: 0x8000_0001,
  /** The last one. */
  SIZES: 0x8000_0008,
  /** Automatic IBRS. */
  OTHER_VENDORS: 0x8000_0021,
} as const;
/** "GenuineIntel": drivers of the hardware assistance go by it. */
const VENDOR = { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e } as const;
/** Leaf 1 ECX. */
const FEATURE_VMX = 1 << 5;
/** Leaf 7 EDX: IA32_ARCH_CAPABILITIES. */
const ARCH_CAPABILITIES = 1 << 29;
/** 8000_0001H ECX: LAHF and SAHF, PREFETCHW; EDX: SYSCALL, NX, 1-GiB pages, RDTSCP, long mode. The others are the other vendor's. */
const EXTENDED_ECX = (1 << 0) | (1 << 8);
const EXTENDED_EDX = (1 << 11) | (1 << 20) | (1 << 26) | (1 << 27) | (1 << 29);

/** A leaf that differs from what the processor says by itself; `undefined`: it does not. The signature stays: family 15, model 6, of which both vendors have had processors. */
export function changedLeaf(leaf: number, own: () => CpuidLeaf): CpuidLeaf | undefined {
  switch (leaf) {
    case Leaf.VENDOR:
      return { ...own(), ...VENDOR };
    case Leaf.FEATURES: {
      const answer = own();
      return { ...answer, ecx: answer.ecx | FEATURE_VMX };
    }
    case Leaf.STRUCTURED: {
      const answer = own();
      // Subleaf 0 is the only one that says anything.
      return answer.ebx === 0 ? answer : { ...answer, edx: answer.edx | ARCH_CAPABILITIES };
    }
    case Leaf.EXTENDED_VENDOR:
      return { eax: Leaf.SIZES, ebx: 0, ecx: 0, edx: 0 };
    case Leaf.EXTENDED: {
      const { ecx, edx } = own();
      return { eax: 0, ebx: 0, ecx: ecx & EXTENDED_ECX, edx: edx & EXTENDED_EDX };
    }
    case Leaf.SIZES:
      return { eax: own().eax, ebx: 0, ecx: 0, edx: 0 };
    case Leaf.OTHER_VENDORS:
      return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    default:
      return undefined;
  }
}
