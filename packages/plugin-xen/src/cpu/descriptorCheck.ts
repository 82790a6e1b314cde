import type { GuestMemory } from '@polyvisor/plugin-api';
import { PAE_HOLE_START, type PvModel } from '../abi/model.ts';
import { FIRST_RESERVED_GDT_ENTRY, PAGE_BYTES } from '../layout.ts';

const DESCRIPTORS_PER_PAGE = 512;
const PRESENT = 0x8000;
const CODE_OR_DATA = 0x1000;
const TYPE = 0x0f00;
const CALL_GATE = 0x0c00;
const DPL = 0x6000;
const DPL_SHIFT = 13;
const LONG = 0x20_0000;
const LIMIT_HIGH = 0xf_0000;
const GRANULARITY = 0x80_0000;
const DATA_DOWN = 0x0c00;
const EXPAND_DOWN = 0x0400;

/** VMASST_TYPE_4gb_segments_notify (public/xen.h): a PV32 guest's segments end below the hole (truncatedSegments.ts). */
export const TRUNCATES_SEGMENTS = 1 << 1;

/**
 * A descriptor that a PV guest may own, as it will stand in the table; `undefined`: refused. Code and data are fine, with a
 * DPL not below the level of the guest's kernel (but no 64-bit code for a PV32 guest); a call gate loses its DPL, so that
 * using it faults; everything else of the system kind is refused (Xen's check_descriptor). `truncates`: {@link TRUNCATES_SEGMENTS}.
 */
export function safeDescriptor(
  lo: number,
  hi: number,
  model: PvModel,
  truncates = false,
): { lo: number; hi: number } | undefined {
  if ((hi & PRESENT) === 0) return { lo, hi };
  const dpl = model.kernelCpl;
  const fixedHi = (hi & ~DPL) | (Math.max((hi & DPL) >>> DPL_SHIFT, dpl) << DPL_SHIFT);
  if ((hi & CODE_OR_DATA) !== 0)
    return model.wordBytes === 8 ? { lo, hi: fixedHi } : safeSegment32(lo, fixedHi, truncates);
  if ((hi & TYPE) === 0) return { lo, hi };
  if ((hi & TYPE) !== CALL_GATE || (hi & (model.wordBytes === 8 ? 0xff : 0xe0)) !== 0) return undefined;
  const selector = lo >>> 16;
  if ((selector & 4) === 0 && selector >> 3 >= FIRST_RESERVED_GDT_ENTRY && (selector & 3) < dpl) return undefined;
  return { lo: (lo & 0xffff) | (((selector & ~3) | dpl) << 16), hi: hi & ~DPL };
}

/**
 * A flat segment that a guest ended below the hole, as 32-bit Xen demanded, reaches to 4 GiB: the hole is kept by page
 * tables, and the machine-to-physical table in it may be larger than the guest was built for.
 */
function safeSegment32(lo: number, hi: number, truncates: boolean): { lo: number; hi: number } | undefined {
  if ((hi & LONG) !== 0) return undefined;
  const start = baseOf(lo, hi);
  const units = ((hi & LIMIT_HIGH) | (lo & 0xffff)) + 1;
  const bytes = (hi & GRANULARITY) === 0 ? units : units * PAGE_BYTES;
  const isUp = (hi & DATA_DOWN) !== EXPAND_DOWN;
  if (truncates && isUp && start !== 0 && start + bytes > Number(PAE_HOLE_START)) return endBelowHole(lo, hi, start);
  return start === 0 && bytes > Number(PAE_HOLE_START) ? { lo: lo | 0xffff, hi: hi | LIMIT_HIGH } : { lo, hi };
}

/** Base of a segment that is described by these words. */
export const baseOf = (lo: number, hi: number): number =>
  ((hi & 0xff00_0000) | ((hi & 0xff) << 16) | (lo >>> 16)) >>> 0;

/** With a limit in pages, the last of which is wholly below the hole; nothing but its first page where it begins above. */
function endBelowHole(lo: number, hi: number, start: number): { lo: number; hi: number } {
  const pages = Math.max(Math.floor((Number(PAE_HOLE_START) - start) / PAGE_BYTES), 1);
  const limit = pages - 1;
  return { lo: (lo & ~0xffff) | (limit & 0xffff), hi: (hi & ~LIMIT_HIGH) | (limit & LIMIT_HIGH) | GRANULARITY };
}

/** Check, and fix where Xen fixes, a whole frame of descriptors before it becomes a GDT or LDT page. */
export function descriptorsAreSafe(memory: GuestMemory, mfn: number, model: PvModel, truncates: boolean): boolean {
  const { words } = memory;
  for (let index = 0; index < DESCRIPTORS_PER_PAGE; index++) {
    const at = mfn * 1024 + index * 2;
    const safe = safeDescriptor(words[at], words[at + 1], model, truncates);
    if (safe === undefined) return false;
    words[at] = safe.lo;
    words[at + 1] = safe.hi;
  }
  return true;
}
