/** How a native instruction ended. `done`: RIP is set, if it is not simply the next instruction. */
export type NativeAnswer = 'next' | 'done' | NativeFault;

/** Raise this exception at the instruction. */
export interface NativeFault {
  readonly vector: number;
  readonly errorCode?: number;
  readonly cr2?: bigint;
}

export const Vector = { DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14, MF: 16, AC: 17, XM: 19 } as const;

export const undefinedOpcode: NativeFault = { vector: Vector.UD };
export const protection = (errorCode = 0): NativeFault => ({ vector: Vector.GP, errorCode });
