import type { EncodingRow } from '../../../packages/core/src/isa/encodings/row.ts';
import type { Width } from '../../../packages/core/src/isa/types.ts';
import { type CaseMode, type Flavour, OverrideSlot, type Patch } from '../case.ts';
import type { Random } from '../random.ts';

/** One kind of use of an encoding; the generator makes a number of cases of each. */
export interface Variant {
  readonly row: EncodingRow;
  readonly mode: CaseMode;
  readonly width: Width;
  readonly form: 'none' | 'reg' | 'mem';
  readonly rep: 'none' | 'rep' | 'repne';
  readonly lock: boolean;
}

/** A case in the making. */
export class Draft {
  readonly variant: Variant;
  readonly random: Random;
  readonly overrides = new Map<number, bigint>();
  readonly patches: Patch[] = [];
  /** Registers that the preparation has given a meaning: not to be used for addresses. */
  readonly reserved = new Set<number>();
  readonly prefixes: number[] = [];
  flavour: Flavour = 'integer';
  immediate = 0n;
  /** Fixed choices of the ModRM registers. */
  reg: number | undefined;
  rm: number | undefined;
  /** Where the memory operand is to lie; undefined: the generator chooses. */
  target: number | undefined;
  /** After everything else is known: the memory operand's address, and the general registers. */
  finish: ((target: number | undefined, gpr: readonly bigint[]) => void) | undefined;

  constructor(variant: Variant, random: Random) {
    this.variant = variant;
    this.random = random;
  }
  get mnemonic(): string {
    return this.variant.row.mnemonic;
  }
  get registerCount(): number {
    return this.variant.mode === 'long64' ? 16 : 8;
  }
  setGpr(number: number, value: bigint | number): void {
    this.overrides.set(number, BigInt.asUintN(64, BigInt(value)));
    this.reserved.add(number);
  }
  setFlags(change: (flags: number) => number): void {
    const flags = this.overrides.get(OverrideSlot.rflags) ?? BigInt(0x202 | (this.random.next() & 0x8d5));
    this.overrides.set(OverrideSlot.rflags, BigInt(change(Number(flags))));
  }
  patch(address: number, value: bigint, sizeBytes: number): void {
    const bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
    this.patches.push({ address, bytes });
  }
}
