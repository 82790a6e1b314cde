import type { Builder } from '../ir/builder.ts';
import type { RegisterField } from '../ir/types.ts';
import type { CpuMode } from './modes.ts';

export type Width = 8 | 16 | 32 | 64;

/**
 * Where an operand of a shape is found. Which register it is stands in the record, so that one
 * shape (and one handler) serves them all.
 */
export type OperandShape =
  /** General register whose byte offset in the state block is in a record field (AH..BH: offset + 1). */
  | { readonly kind: 'gpr'; readonly field: RegisterField; readonly width: Width }
  /** A register fixed by the encoding (AL, rCX): byte offset in the state block. */
  | { readonly kind: 'fixedGpr'; readonly offset: number; readonly width: Width }
  | { readonly kind: 'xmm'; readonly field: RegisterField }
  /** Something known at decode time that selects other semantics: segment register, CR/DR number, x87 stack index, shift by 1. */
  | { readonly kind: 'static'; readonly what: string; readonly value: number }
  /**
   * Memory. `base`: base + disp, no segment base; `full`: segment + base + index << scale + disp; `checked`: as `full`,
   * and the segment's limit and rights count. `sizeBytes` 0: the address only (LEA, INVLPG, prefetch).
   */
  | { readonly kind: 'mem'; readonly sizeBytes: number; readonly addressing: 'base' | 'full' | 'checked' }
  | { readonly kind: 'imm'; readonly width: Width }
  /** Direct branch target, in the record. */
  | { readonly kind: 'rel' };

/** All that decides what code an instruction needs; one handler each. */
export interface InstructionShape {
  /** Unique and stable in words, e.g. `ADD r/m,r|long64|64|mem.base,gpr`. */
  readonly key: string;
  /** Dense number, in order of first sight in this process. */
  readonly id: number;
  readonly encoding: Encoding;
  readonly mode: CpuMode;
  readonly operandWidth: Width;
  /** 64, 32 or 16: effective addresses are cut to it. */
  readonly addressWidth: 16 | 32 | 64;
  readonly operands: readonly OperandShape[];
  readonly rep: 'none' | 'rep' | 'repne';
  readonly lock: boolean;
  /** Index of the overriding segment register, if a prefix gave one that counts in this mode. */
  readonly segmentOverride: number | undefined;
}

export type Semantics = (b: Builder, shape: InstructionShape) => void;

/** One row of the encodings table. */
export interface Encoding {
  /** As the manuals write it: `ADD r/m,r`. */
  readonly name: string;
  /** As the manuals write it: `o 01 /r`, `66 0F 6F /r`. */
  readonly pattern: string;
  readonly semantics: Semantics;
  /** Ends straight-line decoding: the next instruction is reached by a jump, or state changed under the decoder. */
  readonly endsBlock: boolean;
  /** Privileged or otherwise not runnable by a user-mode oracle. */
  readonly system: boolean;
}

/** Fields of a record, as the decoder fills them. Register fields are byte offsets in the state block. */
export interface DecodedInstruction {
  shape: InstructionShape;
  lengthBytes: number;
  reg: number;
  rm: number;
  base: number;
  index: number;
  /** log2 of the index scale. */
  scale: number;
  /** Segment register index whose base is added (`full` and `checked` addressing), else −1. */
  segment: number;
  /** `base` is RIP: disp counts from the end of the instruction. */
  ripRelative: boolean;
  /** Displacement, sign-extended; or moffs address. As two 32-bit halves. */
  dispLow: number;
  dispHigh: number;
  immLow: number;
  immHigh: number;
  /** Second small immediate (ENTER's level). Branches: displacement in immLow/immHigh. */
  imm2: number;
}

/** Where the decoder reads code bytes; answers −1 past what can be fetched. */
export type FetchByte = (offset: number) => number;

export type DecodeResult =
  | { readonly ok: true; readonly instruction: DecodedInstruction }
  /** `undefined`: #UD. `fetch`: bytes past the readable ones are needed. `tooLong`: more than 15 bytes: #GP(0). */
  | { readonly ok: false; readonly reason: 'undefined' | 'fetch' | 'tooLong' };
