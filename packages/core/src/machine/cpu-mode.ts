import type { Segment } from '@polyvisor/plugin-api';
import type { CpuMode } from '../isa/modes.ts';

/** Access-rights bits of a segment, at the places of a descriptor's second word less 8 (SDM vol. 3A, 3.4.5); unusable. */
// biome-ignore format: a table
export const AccessRights = {
  /** Type bits: code or data, expand-down or conforming, writable or readable. */
  ACCESSED: 1, WRITABLE: 2, READABLE: 2, EXPAND_DOWN: 4, CONFORMING: 4, CODE: 8,
  S: 1 << 4, DPL: 3 << 5, P: 1 << 7, L: 1 << 13, DB: 1 << 14, G: 1 << 15, UNUSABLE: 1 << 16,
} as const;

const { S, CODE, EXPAND_DOWN, WRITABLE, READABLE, UNUSABLE, DB } = AccessRights;

/** The segments that `flat32` (isa/modes.ts) knows to be flat: ES, CS, SS, DS. */
export const FLAT_SEGMENTS = [0, 1, 2, 3] as const;
const CS = 1;

/** Mode of a vCPU outside 64-bit mode, by the rights of CS and SS. */
export function cpuMode(code: number, stack: number, isFlat: () => boolean): CpuMode {
  const wideStack = (stack & DB) !== 0;
  if (!(code & DB)) return wideStack ? 'seg16ss32' : 'seg16';
  if (!wideStack) return 'seg32ss16';
  return isFlat() ? 'flat32' : 'seg32';
}

/** Whether a segment allows every access to 4 GiB, apart from its base; of CS: every fetch. */
export function isFlatSegment(index: number, limit: number, rights: number): boolean {
  if (limit !== -1 && limit !== 0xffffffff) return false;
  return index === CS || (rights & (S | CODE | EXPAND_DOWN | WRITABLE | UNUSABLE)) === (S | WRITABLE);
}

/** Which offsets can be read and written (SDM vol. 3A, 5.3): from `floor` on, below the ends. */
export function segmentBounds(limit: number, rights: number): { floor: number; readEnd: number; writeEnd: number } {
  const end = (limit >>> 0) + 1;
  if (rights & UNUSABLE || !(rights & S)) return { floor: 0, readEnd: 0, writeEnd: 0 };
  if (rights & CODE) return { floor: 0, readEnd: rights & READABLE ? end : 0, writeEnd: 0 };
  const expandDown = (rights & EXPAND_DOWN) !== 0;
  const last = expandDown ? (rights & DB ? 2 ** 32 : 2 ** 16) : end;
  // Of an expand-down segment with the largest limit nothing is left.
  const floor = expandDown ? Math.min(end, last) : 0;
  return {
    floor: floor === 2 ** 32 ? 0 : floor,
    readEnd: floor === last ? 0 : last,
    writeEnd: rights & WRITABLE && floor !== last ? last : 0,
  };
}

const DATA = { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x93 } as const;
/** LDTR and TR after power-up. */
export const RESET_LDTR: Segment = { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x82 };
export const RESET_TR: Segment = { selector: 0, base: 0n, limit: 0xffff, accessRights: 0x8b };
/** Segment registers after power-up (SDM vol. 3A, table 9-1), in encoding order. */
export const RESET_SEGMENTS: readonly Segment[] = [
  DATA,
  { ...DATA, selector: 0xf000, base: 0xffff0000n },
  DATA,
  DATA,
  DATA,
  DATA,
];
