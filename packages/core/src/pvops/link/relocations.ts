/** What a relocation is computed from, by the letters of the ABIs: all addresses in the guest. */
export interface RelocationTerms {
  /** Value of the symbol. */
  readonly s: bigint;
  readonly a: bigint;
  /** Address of the place. */
  readonly p: bigint;
  /** Address of the global offset table. */
  readonly got: bigint;
  /** Address of the symbol's slot in it; 0 if the type needs none. */
  readonly g: bigint;
  /** The byte before the place: of an instruction the one that says how its operand is addressed. */
  readonly modrm: number;
}

export interface RelocationType {
  readonly name: string;
  readonly sizeBytes: 0 | 4 | 8;
  /** What must be preserved when the value is cut to its size; `any`: nothing, addresses wrap. */
  readonly range: 'signed' | 'unsigned' | 'any';
  readonly got?: true;
  value(terms: RelocationTerms): bigint;
}

const none: RelocationType = { name: 'NONE', sizeBytes: 0, range: 'any', value: () => 0n };

/** System V ABI, AMD64 supplement 1.0, table 4.9 and 4.10: what gcc writes in its code models, with and without -fpic. */
const AMD64: Readonly<Record<number, RelocationType>> = {
  0: none,
  1: { name: 'R_X86_64_64', sizeBytes: 8, range: 'any', value: ({ s, a }) => s + a },
  2: { name: 'R_X86_64_PC32', sizeBytes: 4, range: 'signed', value: ({ s, a, p }) => s + a - p },
  4: { name: 'R_X86_64_PLT32', sizeBytes: 4, range: 'signed', value: ({ s, a, p }) => s + a - p },
  9: { name: 'R_X86_64_GOTPCREL', sizeBytes: 4, range: 'signed', got: true, value: ({ g, a, p }) => g + a - p },
  10: { name: 'R_X86_64_32', sizeBytes: 4, range: 'unsigned', value: ({ s, a }) => s + a },
  11: { name: 'R_X86_64_32S', sizeBytes: 4, range: 'signed', value: ({ s, a }) => s + a },
  24: { name: 'R_X86_64_PC64', sizeBytes: 8, range: 'any', value: ({ s, a, p }) => s + a - p },
  25: { name: 'R_X86_64_GOTOFF64', sizeBytes: 8, range: 'any', value: ({ s, a, got }) => s + a - got },
  26: { name: 'R_X86_64_GOTPC32', sizeBytes: 4, range: 'signed', value: ({ got, a, p }) => got + a - p },
  27: { name: 'R_X86_64_GOT64', sizeBytes: 8, range: 'any', got: true, value: ({ g, a, got }) => g + a - got },
  29: { name: 'R_X86_64_GOTPC64', sizeBytes: 8, range: 'any', value: ({ got, a, p }) => got + a - p },
  31: { name: 'R_X86_64_PLTOFF64', sizeBytes: 8, range: 'any', value: ({ s, a, got }) => s + a - got },
  41: { name: 'R_X86_64_GOTPCRELX', sizeBytes: 4, range: 'signed', got: true, value: ({ g, a, p }) => g + a - p },
  42: { name: 'R_X86_64_REX_GOTPCRELX', sizeBytes: 4, range: 'signed', got: true, value: ({ g, a, p }) => g + a - p },
};

/** System V ABI, Intel386 supplement 1.1, table 2.8. Addresses of 32 bits wrap, so everything is in reach. */
const I386: Readonly<Record<number, RelocationType>> = {
  0: none,
  1: { name: 'R_386_32', sizeBytes: 4, range: 'any', value: ({ s, a }) => s + a },
  2: { name: 'R_386_PC32', sizeBytes: 4, range: 'any', value: ({ s, a, p }) => s + a - p },
  3: { name: 'R_386_GOT32', sizeBytes: 4, range: 'any', got: true, value: gotSlot32 },
  4: { name: 'R_386_PLT32', sizeBytes: 4, range: 'any', value: ({ s, a, p }) => s + a - p },
  9: { name: 'R_386_GOTOFF', sizeBytes: 4, range: 'any', value: ({ s, a, got }) => s + a - got },
  10: { name: 'R_386_GOTPC', sizeBytes: 4, range: 'any', value: ({ got, a, p }) => got + a - p },
  43: { name: 'R_386_GOT32X', sizeBytes: 4, range: 'any', got: true, value: gotSlot32 },
};

/** Without a base register (ModRM with mod 0 and r/m 5) the operand is the slot's address, else its offset in the table. */
function gotSlot32({ g, a, got, modrm }: RelocationTerms): bigint {
  return (modrm & 0xc7) === 5 ? g + a : g + a - got;
}

export function relocationType(width: 32 | 64, type: number): RelocationType | undefined {
  return (width === 64 ? AMD64 : I386)[type];
}

export function usesGot(width: 32 | 64, type: number): boolean {
  return relocationType(width, type)?.got === true;
}

/** Whether `value`, an address or distance modulo the word's size, survives being cut to 32 bits. */
export function inRange(value: bigint, { sizeBytes, range }: RelocationType): boolean {
  if (sizeBytes !== 4 || range === 'any') return true;
  const word = BigInt.asUintN(64, value);
  return word === BigInt.asUintN(64, range === 'signed' ? BigInt.asIntN(32, word) : BigInt.asUintN(32, word));
}
