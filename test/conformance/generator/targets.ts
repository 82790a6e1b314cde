import { bitsOf } from '../../../packages/core/src/isa/shape.ts';
import { DATA_BASE, DATA_SIZE_BYTES, PAGE_SIZE_BYTES, READ_ONLY_BASE, WINDOW, WINDOW_SIZE_BYTES } from '../layout.ts';
import type { Random } from '../random.ts';
import type { MemoryForm } from './assemble.ts';
import type { Draft, Variant } from './draft.ts';

/** Sizes of memory operands that the table leaves to the semantics (operand code `M` without a size), bytes. */
const SIZES: Record<string, number> = {
  CMPXCHG8B: 8,
  CMPXCHG16B: 16,
  FLDENV: 28,
  FNSTENV: 28,
  FRSTOR: 108,
  FNSAVE: 108,
  FXSAVE: 512,
  FXRSTOR: 512,
  FXSAVE64: 512,
  FXRSTOR64: 512,
  XSAVE: 576,
  XSAVE64: 576,
  XRSTOR: 576,
  XRSTOR64: 576,
  XSAVEOPT: 576,
  XSAVEC: 576,
  BOUND: 8,
  LDMXCSR: 4,
  STMXCSR: 4,
  FBLD: 10,
  FBSTP: 10,
  FLD: 10,
  FSTP: 10,
};

/** Size of a variant's memory operand, bytes. */
export function memoryBytes({ row, width }: Variant): number {
  const code = row.operandCodes.find(({ letter }) => 'EWQO'.includes(letter));
  const fromTable = code ? bitsOf(code.memorySize, width) / 8 : 0;
  return fromTable || SIZES[row.mnemonic] || 16;
}

/** Where a memory operand lies: mostly in the window, at times across pages, in a page without rights, or nowhere. */
export function chooseTarget(random: Random, sizeBytes: number, long64: boolean): number {
  const aligned = Math.min(sizeBytes, 16);
  if (sizeBytes > WINDOW_SIZE_BYTES) return chooseLargeTarget(random);
  const room = WINDOW_SIZE_BYTES - sizeBytes;
  switch (random.below(16)) {
    case 0:
      return DATA_BASE + PAGE_SIZE_BYTES - (sizeBytes > 1 ? 1 + random.below(sizeBytes - 1) : 1);
    case 1:
      return DATA_BASE + DATA_SIZE_BYTES - random.below(sizeBytes);
    case 2:
      return READ_ONLY_BASE + 0x40 * random.below(4);
    case 3:
      return long64 && random.oneIn(2) ? random.pick([0x800000000000, -0x800000000001]) : 0x10 * random.below(8);
    case 4:
    case 5:
      return WINDOW + random.below(room + 1);
    default:
      return WINDOW + aligned * random.below(Math.floor(room / aligned) + 1);
  }
}

/** Save areas: 64-byte aligned as XSAVE wants it; now and then not, or without the rights. */
function chooseLargeTarget(random: Random): number {
  switch (random.below(10)) {
    case 0:
      return DATA_BASE + 0x408;
    case 1:
      return DATA_BASE + DATA_SIZE_BYTES;
    case 2:
      return READ_ONLY_BASE;
    default:
      return DATA_BASE + 0x40 * (1 + random.below(0x60));
  }
}

/** A ModRM form that comes to `target`, with overrides of the registers it uses. */
export function chooseForm(draft: Draft, target: number, segmentBase: number, addressWidth: 16 | 32 | 64): MemoryForm {
  const { random, variant } = draft;
  const long64 = variant.mode === 'long64';
  const offset = target - segmentBase;
  const none = { base: undefined, index: undefined, scale: 0, dispBytes: 4, ripRelative: false } as const;
  const reachable = offset >= 0 && offset < 0x7fffffff;
  if (addressWidth === 16) return { ...none, disp: offset & 0xffff };
  if (reachable && random.oneIn(8)) {
    const ripRelative = long64 && random.oneIn(2) && segmentBase === 0;
    return { ...none, disp: offset, ripRelative };
  }
  const free = Array.from({ length: draft.registerCount }, (_, i) => i).filter((i) => !draft.reserved.has(i));
  const base = random.pick(free);
  const candidates = free.filter((i) => i !== base && i !== 4);
  const index = random.oneIn(3) ? random.pick(candidates) : undefined;
  const dispBytes = random.pick([0, 1, 1, 4] as const);
  return placeRegisters(draft, offset, { base, index, dispBytes, addressWidth, reachable });
}

interface Placement {
  readonly base: number;
  readonly index: number | undefined;
  readonly dispBytes: 0 | 1 | 4;
  readonly addressWidth: 32 | 64;
  readonly reachable: boolean;
}

function placeRegisters(draft: Draft, offset: number, placement: Placement): MemoryForm {
  const { random } = draft;
  const { index, base } = placement;
  const scale = random.below(4);
  // Without a displacement, base 5 and 13 mean something else.
  const dispBytes = placement.dispBytes === 0 && (base & 7) === 5 ? 1 : placement.dispBytes;
  const disp = dispBytes === 0 ? 0 : dispBytes === 1 ? random.below(256) - 128 : random.below(0x2000) - 0x1000;
  const indexValue = index === undefined ? 0 : random.below(0x400) - 0x100;
  const mask = placement.addressWidth === 64 ? 64 : 32;
  // Bits above the address size are noise that the processor has to ignore.
  const noise = mask === 32 && draft.variant.mode === 'long64' ? BigInt(random.next()) << 32n : 0n;
  const value = BigInt(offset) - BigInt(disp) - (BigInt(indexValue) << BigInt(scale));
  draft.setGpr(base, BigInt.asUintN(mask, value) | noise);
  if (index !== undefined) draft.setGpr(index, BigInt.asUintN(mask, BigInt(indexValue)) | noise);
  return { base, index, scale, disp, dispBytes, ripRelative: false };
}
