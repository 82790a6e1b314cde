import type { PageFault } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';

/** How a native instruction ended. `done`: RIP is set, if it is not simply the next instruction. */
export type NativeAnswer = 'next' | 'done' | NativeFault;

/** Raise this exception at the instruction. */
export interface NativeFault {
  readonly vector: number;
  readonly errorCode?: number;
  readonly cr2?: bigint;
}

/** An exception or interrupt on its way to the guest's IDT. */
export interface Delivery {
  readonly vector: number;
  readonly errorCode: number | undefined;
  /** INT n, INT3, INTO: the gate's DPL is checked, and RIP has already moved on. */
  readonly software: boolean;
  /** INT n: in virtual-8086 mode it needs IOPL 3. */
  readonly needsIopl?: boolean;
}

export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  XM: 19,
} as const;

const FAULTS: ReadonlySet<number> = new Set([
  Vector.DE,
  Vector.BR,
  Vector.UD,
  Vector.NM,
  Vector.TS,
  Vector.NP,
  Vector.SS,
  Vector.GP,
  Vector.PF,
  Vector.MF,
  Vector.AC,
  Vector.XM,
]);
/** RF in the flags that an event pushes: 1 for faults, which run their instruction again (SDM vol. 3B, 18.3.1.1). */
export const pushedResumeFlag = ({ vector, software }: Delivery): bigint =>
  !software && FAULTS.has(vector) ? BigInt(Flag.RF) : 0n;

/**
 * What a failed access to guest memory raises: a page fault, or #GP(0) for an address that is not canonical.
 */
export function memoryFault({ gva, errorCode }: PageFault): NativeFault {
  const canonical = BigInt.asIntN(48, gva) === BigInt.asIntN(64, gva);
  return canonical
    ? { vector: Vector.PF, errorCode, cr2: BigInt.asUintN(64, gva) }
    : { vector: Vector.GP, errorCode: 0 };
}

export const undefinedOpcode: NativeFault = { vector: Vector.UD };
export const protection = (errorCode = 0): NativeFault => ({ vector: Vector.GP, errorCode });

const CONTRIBUTORY: ReadonlySet<number> = new Set([Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP]);

/**
 * What follows a fault met while `first` was delivered: the fault itself, a double fault, or undefined for a shutdown
 * (SDM vol. 3A, table 6-5).
 */
export function afterDeliveryFault(first: number, second: NativeFault): NativeFault | undefined {
  if (first === Vector.DF) return undefined;
  const both = CONTRIBUTORY.has(first) && CONTRIBUTORY.has(second.vector);
  const pageFault = first === Vector.PF && (second.vector === Vector.PF || CONTRIBUTORY.has(second.vector));
  return both || pageFault ? { vector: Vector.DF, errorCode: 0 } : second;
}
