import type { GuestMemory } from '@polyvisor/plugin-api';
import { FIRST_RESERVED_GDT_ENTRY } from '../layout.ts';

const DESCRIPTORS_PER_PAGE = 512;
const PRESENT = 0x8000;
const CODE_OR_DATA = 0x1000;
const TYPE = 0x0f00;
const CALL_GATE = 0x0c00;
const DPL = 0x6000;

/**
 * A descriptor a PV64 guest may own, as it will stand in the table; `undefined`: refused. Code and data
 * are always fine (their DPL cannot be below 3, since the guest's kernel runs at CPL 3); a call gate loses its DPL, so that
 * using it faults; everything else of the system kind is refused.
 */
export function safeDescriptor(lo: number, hi: number): { lo: number; hi: number } | undefined {
  if ((hi & PRESENT) === 0) return { lo, hi };
  const dpl = 3;
  const fixedHi = hi | DPL;
  if ((hi & CODE_OR_DATA) !== 0) return { lo, hi: fixedHi };
  if ((hi & TYPE) === 0) return { lo, hi };
  if ((hi & TYPE) !== CALL_GATE || (hi & 0xff) !== 0) return undefined;
  const selector = lo >>> 16;
  if ((selector & 4) === 0 && selector >> 3 >= FIRST_RESERVED_GDT_ENTRY && (selector & 3) !== 3) return undefined;
  return { lo: (lo & 0xffff) | (((selector & ~3) | dpl) << 16), hi: hi & ~DPL };
}

/** Check, and fix where Xen fixes, a whole frame of descriptors before it becomes a GDT or LDT page. */
export function descriptorsAreSafe(memory: GuestMemory, mfn: number): boolean {
  const { words } = memory;
  for (let index = 0; index < DESCRIPTORS_PER_PAGE; index++) {
    const at = mfn * 1024 + index * 2;
    const safe = safeDescriptor(words[at], words[at + 1]);
    if (safe === undefined) return false;
    words[at] = safe.lo;
    words[at + 1] = safe.hi;
  }
  return true;
}
