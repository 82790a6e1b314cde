import type { SegmentBound, Slot } from '../cpu/state.ts';

/** Types of IR values: WebAssembly's own. Integers of 8, 16 and 32 bits travel as i32, of 64 as i64. */
export type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128';

/**
 * How the evaluator represents a value: i32 → number (signed), i64 → bigint (signed),
 * f32 → number holding the 32 bits (signed), f64 → bigint holding the 64 bits (signed),
 * v128 → 16 bytes, never modified in place.
 */
export type Evaluated = number | bigint | Uint8Array;

/** A pure operation: one WebAssembly instruction, described once. */
export interface PureOp {
  readonly name: string;
  readonly params: readonly ValueType[];
  readonly result: ValueType;
  /** Opcode bytes, LEB128 already applied to prefixed opcodes. */
  readonly wasm: readonly number[];
  /** Number of immediate bytes that follow the opcode (lane index, shuffle mask). */
  readonly immediates?: number;
  evaluate(args: readonly Evaluated[], immediates: readonly number[]): Evaluated;
}

export interface Value {
  readonly type: ValueType;
  readonly node: Node;
  /** Uses by other nodes; set by the builder, read by emitters. */
  uses: number;
  /** Number of the value in its program, counted from 0. */
  readonly id: number;
  /** The value is this condition code (encoding order, i32 0 or 1) of the flags as they are where its node stands. */
  condition?: number;
}

/** Where lazy arithmetic flags come from; operands as the instruction had them, `extended` the result sign-extended to 64 bits. */
export interface FlagSource {
  /** `logic`: CF, OF and AF are 0, and there are no operands. The others with or without a carry that came in. */
  readonly operation: 'add' | 'sub' | 'logic';
  readonly carryIn: boolean;
  readonly width: 8 | 16 | 32 | 64;
  /** i32, zero-extended, or i64 for 64 bits. */
  readonly a?: Value;
  readonly b?: Value;
  readonly extended: Value;
}

/** A register named by a field of the decoded record: the field holds its byte offset in the state block. */
export type RegisterField = 'reg' | 'rm' | 'base' | 'index';
/** A field of the decoded record that the IR can read as a number. */
export type RecordValue = 'imm' | 'disp' | 'scale' | 'segment' | 'reg' | 'rm' | 'nextOffset' | 'thisOffset';
export type AccessBytes = 1 | 2 | 4 | 8 | 16;

/** A mutable IR variable, for the few places where a select will not do. */
export interface Variable {
  readonly type: ValueType;
  readonly id: number;
}

/** The host address of a memory operand that was checked for writing and then read. */
export interface UpdateHandle {
  readonly id: number;
}

// biome-ignore format: a table
export type Node =
  | { readonly kind: 'const'; readonly value: number | bigint; result: Value }
  | { readonly kind: 'constVector'; readonly bytes: Uint8Array; result: Value }
  | { readonly kind: 'pure'; readonly op: PureOp; readonly args: readonly Value[]; readonly immediates: readonly number[]; result: Value }
  | { readonly kind: 'getSlot'; readonly slot: Slot; result: Value }
  /** `fromSource`: one of the three settings that a {@link FlagSource} before it stands for. */
  | { readonly kind: 'setSlot'; readonly slot: Slot; readonly value: Value; readonly fromSource: boolean }
  /** Says what the arithmetic flags that are set next come from; by itself it does nothing. Its values are not counted as used. */
  | { readonly kind: 'flagSource'; readonly source: FlagSource }
  /** Zero-extended read of `bytes` at (state + record.field + extra). */
  | { readonly kind: 'getRegister'; readonly field: RegisterField; readonly bytes: AccessBytes; readonly extra: number; result: Value }
  | { readonly kind: 'setRegister'; readonly field: RegisterField; readonly bytes: AccessBytes; readonly extra: number; readonly value: Value }
  /** A fixed register (or part of it): state + offset. */
  | { readonly kind: 'getFixed'; readonly offset: number; readonly bytes: AccessBytes; result: Value }
  | { readonly kind: 'setFixed'; readonly offset: number; readonly bytes: AccessBytes; readonly value: Value }
  /** Record fields as i64 values; reg and rm are byte offsets in the state block. */
  | { readonly kind: 'recordField'; readonly field: RecordValue; result: Value }
  /** Base of the segment that the record names (i64). */
  | { readonly kind: 'segmentBase'; result: Value }
  /** One of its bounds (i64): cpu/state.ts. */
  | { readonly kind: 'segmentBound'; readonly bound: SegmentBound; result: Value }
  | { readonly kind: 'load'; readonly address: Value; readonly bytes: AccessBytes; result: Value }
  | { readonly kind: 'loadForUpdate'; readonly address: Value; readonly bytes: AccessBytes; readonly handle: UpdateHandle; result: Value }
  | { readonly kind: 'storeUpdate'; readonly handle: UpdateHandle; readonly bytes: AccessBytes; readonly value: Value }
  | { readonly kind: 'store'; readonly address: Value; readonly bytes: AccessBytes; readonly value: Value }
  /**
   * The host address (i32) of `bytes` bytes of guest-virtual memory, which may be read or written in that TLB bank (i32); 0 where
   * the bank does not have them, or where they are not in one page. Never a fault.
   */
  | { readonly kind: 'reach'; readonly bank: Value; readonly address: Value; readonly bytes: number; readonly write: boolean; result: Value }
  /** At a host address that `reach` has answered. */
  | { readonly kind: 'loadReached'; readonly host: Value; readonly offset: number; readonly bytes: AccessBytes; result: Value }
  | { readonly kind: 'storeReached'; readonly host: Value; readonly offset: number; readonly bytes: AccessBytes; readonly value: Value }
  /** The same for many bytes (i32), which do not overlap, or move down. `value`: a byte (i32). */
  | { readonly kind: 'copyReached'; readonly to: Value; readonly from: Value; readonly sizeBytes: Value }
  | { readonly kind: 'fillReached'; readonly to: Value; readonly value: Value; readonly sizeBytes: Value }
  /** How many more instructions could be done before this one without using the budget up (i32); where less than 1, none. */
  | { readonly kind: 'spare'; result: Value }
  /** So many (i32) have been done: iterations of this one. */
  | { readonly kind: 'spend'; readonly instructions: Value }
  | { readonly kind: 'getVariable'; readonly variable: Variable; result: Value }
  | { readonly kind: 'setVariable'; readonly variable: Variable; readonly value: Value }
  | { readonly kind: 'when'; readonly condition: Value; readonly then: Block; readonly otherwise: Block }
  /** Raise an exception at this instruction. Ends the instruction. */
  | { readonly kind: 'raise'; readonly vector: number; readonly errorCode: Value | undefined }
  /** Go on at this linear address less CS base (i64). Ends the instruction. */
  | { readonly kind: 'jump'; readonly target: Value }
  /** Go on at the record's direct branch target. Ends the instruction. */
  | { readonly kind: 'branch' }
  /** Do this instruction again (REP): a point where the budget is checked. Ends the instruction. */
  | { readonly kind: 'repeat' }
  /** Leave the engine: TypeScript carries the instruction out. RIP stays. Ends the instruction. */
  | { readonly kind: 'exit'; readonly exit: number }
  /** Call a TypeScript helper by name; integer arguments through ARG slots, result from RESULT[0]. */
  | { readonly kind: 'helper'; readonly helper: string; readonly args: readonly Value[]; readonly mayFault: boolean; result: Value | undefined };

export interface Block {
  readonly nodes: Node[];
}

/** What one instruction shape does. */
export interface Program {
  readonly body: Block;
  readonly variables: readonly Variable[];
  /** How many values there are. */
  readonly valueCount: number;
}
