import type { BootDescriptor } from '@polyvisor/plugin-api';

/**
 * The boot descriptor in CPUID: the last of the leaves that processors leave to hypervisors (AMD APM vol. 3, appendix
 * E.3.9), so that it collides with none of the interfaces that begin at 0x40000000.
 */
const FIRST_LEAF = 0x4000_ff00;
const LEAVES = 4;
/** Beside the descriptor, where the guest's kernel may register operations. */
const OPS_LEAF = FIRST_LEAF + LEAVES;
/** Calls for operations: the first one's number in EAX of a VMCALL, and how many there are. */
export const OpsCalls = { VERSION: 0x1_0001, FIRST: 0x4f50_5301, COUNT: 4, MOST_ENTRIES: 256 } as const;
/** In EBX, ECX, EDX of the first leaf. */
const SIGNATURE = 'BootDescript';
const TEXT_BYTES = 12;

/** Address spaces in ECX of the last leaf. */
const SPACE = { none: 0, physical: 1, virtual: 2 } as const;

export function isDescriptorLeaf(leaf: number): boolean {
  const index = (leaf >>> 0) - FIRST_LEAF;
  return index >= 0 && index <= LEAVES;
}

/** docs/plugin-authoring.md, "The boot descriptor"; docs/ops-modules.md, "A guest's own table". */
export function descriptorLeaf(leaf: number, descriptor: BootDescriptor, takesOps = false) {
  const { hypervisor, guestType, abiVersion, data } = descriptor;
  switch (leaf >>> 0) {
    case FIRST_LEAF:
      return text(takesOps ? OPS_LEAF : OPS_LEAF - 1, SIGNATURE);
    case OPS_LEAF:
      return takesOps
        ? { eax: OpsCalls.VERSION, ebx: OpsCalls.FIRST, ecx: OpsCalls.COUNT, edx: OpsCalls.MOST_ENTRIES }
        : { eax: 0, ebx: 0, ecx: 0, edx: 0 };
    case FIRST_LEAF + 1:
      return text(abiVersion, hypervisor);
    case FIRST_LEAF + 2:
      return text(0, guestType);
    default: {
      const address = data?.address ?? 0n;
      return {
        eax: Number(BigInt.asIntN(32, address)),
        ebx: Number(BigInt.asIntN(32, address >> 32n)),
        ecx: SPACE[data?.space ?? 'none'],
        edx: 0,
      };
    }
  }
}

/** Twelve characters in the registers in which CPUID gives the processor's vendor, but in the order EBX, ECX, EDX. */
function text(eax: number, characters: string) {
  const bytes = new Uint8Array(TEXT_BYTES);
  bytes.set(new TextEncoder().encode(characters).subarray(0, TEXT_BYTES));
  const view = new DataView(bytes.buffer);
  return { eax, ebx: view.getInt32(0, true), ecx: view.getInt32(4, true), edx: view.getInt32(8, true) };
}
