import { type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { HIGH, halves, LOW, split } from '../halves.ts';
import {
  FIRST_RESERVED_GDT_ENTRY,
  FLAT_KERNEL_CS,
  FLAT_KERNEL_SS,
  FLAT_RING1_CS,
  FLAT_RING1_SS,
  FLAT_RING3_CS32,
  LAST_RESERVED_GDT_BYTE,
  PAGE_BYTES,
} from '../layout.ts';

/** 64-bit code, DPL 3, G, L. */
export const CODE64_RIGHTS = 0xa0fb;
/** 32-bit code, DPL 3, G, D. */
const CODE32_RIGHTS = 0xc0fb;
/** Writable data, DPL 3, G, B. */
export const DATA_RIGHTS = 0xc0f3;
const UNUSABLE = 0x1_0000;
const FLAT_LIMIT = 0xffff_ffff;

export const KERNEL_CS: Segment = {
  selector: FLAT_KERNEL_CS,
  base: 0n,
  limit: FLAT_LIMIT,
  accessRights: CODE64_RIGHTS,
};
export const KERNEL_SS: Segment = { selector: FLAT_KERNEL_SS, base: 0n, limit: FLAT_LIMIT, accessRights: DATA_RIGHTS };
export const USER_CS32: Segment = {
  selector: FLAT_RING3_CS32,
  base: 0n,
  limit: FLAT_LIMIT,
  accessRights: CODE32_RIGHTS,
};
/** The flat segments of a PV32 kernel: 32-bit code and writable data, DPL 1, G, D/B. */
export const RING1_CS: Segment = { selector: FLAT_RING1_CS, base: 0n, limit: FLAT_LIMIT, accessRights: 0xc0bb };
export const RING1_SS: Segment = { selector: FLAT_RING1_SS, base: 0n, limit: FLAT_LIMIT, accessRights: 0xc0b3 };
export const NULL_SEGMENT: Segment = { selector: 0, base: 0n, limit: 0, accessRights: UNUSABLE };

/** Load CS or another register only if its selector changes: descriptors of the flat selectors never do. */
export function loadFlat(vcpu: XenVcpu, index: number, segment: Segment): void {
  if (vcpu.cpu.selector(index) !== segment.selector) vcpu.cpu.setSegment(index, segment);
}

/** The descriptor found last: low word, high word. */
const found = new Int32Array(2);
const AS_SUPERVISOR = { as: 'supervisor' } as const;

/** Put a selector's raw descriptor into {@link found}; false: it names nothing. */
function readDescriptor(domain: XenDomain, vcpu: XenVcpu, selector: number): boolean {
  const index = selector >> 3;
  if ((selector & 4) !== 0) return index < vcpu.ldtEntries && readAt(vcpu, vcpu.ldtBase, index);
  if (index >= FIRST_RESERVED_GDT_ENTRY) {
    return selector <= LAST_RESERVED_GDT_BYTE && readAt(vcpu, vcpu.cpu.tables.gdtr.base, index);
  }
  const frame = vcpu.gdtFrames[index >> 9];
  if (index >= vcpu.gdtEntries || frame === undefined) return false;
  const at = frame * (PAGE_BYTES / 4) + (index & 511) * 2;
  found[0] = domain.memory.words[at];
  found[1] = domain.memory.words[at + 1];
  return true;
}

function readAt(vcpu: XenVcpu, table: bigint, index: number): boolean {
  split(table + BigInt(index * 8));
  return vcpu.cpu.readWords(halves[LOW], halves[HIGH], found, 2, AS_SUPERVISOR);
}

/** Segments made from descriptors, by index in their table: a system call comes back with the same ones. */
const unpacked: { lo: number; hi: number; segment: Segment }[] = [];
const UNPACKED_ENTRIES = 64;

/** {@link found} as a segment. */
function unpack(selector: number): Segment {
  const [lo, hi] = found;
  const place = (selector >> 3) % UNPACKED_ENTRIES;
  const known = unpacked[place];
  if (known?.lo === lo && known.hi === hi && known.segment.selector === selector) return known.segment;
  const base = ((hi & 0xff00_0000) | ((hi & 0xff) << 16) | (lo >>> 16)) >>> 0;
  const raw = (hi & 0xf_0000) | (lo & 0xffff);
  const limit = (hi & 0x80_0000) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw;
  const segment = { selector, base: BigInt(base), limit, accessRights: (hi >>> 8) & 0xf0ff };
  unpacked[place] = { lo, hi, segment };
  return segment;
}

const PRESENT = 0x80;
const CODE_OR_DATA = 0x10;
const CODE = 0x08;
const WRITABLE = 0x02;
const DPL_SHIFT = 5;

/** What IRET would load into CS; `undefined` where it would fault (SDM vol. 2A, IRET). The new CPL is the RPL. */
export function codeSegment(domain: XenDomain, vcpu: XenVcpu, selector: number): Segment | undefined {
  if (vcpu.ring1) {
    if (selector === FLAT_RING1_CS) return RING1_CS;
  } else if (selector === FLAT_KERNEL_CS) return KERNEL_CS;
  else if (selector === FLAT_RING3_CS32) return USER_CS32;
  if (selector < 4 || !readDescriptor(domain, vcpu, selector)) return undefined;
  const segment = unpack(selector);
  const rights = segment.accessRights;
  const isCode = (rights & (PRESENT | CODE_OR_DATA | CODE)) === (PRESENT | CODE_OR_DATA | CODE);
  const conforming = (rights & 4) !== 0;
  const dpl = (rights >> DPL_SHIFT) & 3;
  const cpl = selector & 3;
  if (!isCode || (conforming ? dpl > cpl : dpl !== cpl)) return undefined;
  if ((rights & 0x6000) === 0x6000) return undefined;
  return segment;
}

/** What IRET would load into SS for the CPL of its RPL; a null selector is an error outside 64-bit CPL 0–2. */
export function stackSegment(domain: XenDomain, vcpu: XenVcpu, selector: number): Segment | undefined {
  if (vcpu.ring1) {
    if (selector === FLAT_RING1_SS) return RING1_SS;
  } else if (selector === FLAT_KERNEL_SS) return KERNEL_SS;
  const segment = dataSegment(domain, vcpu, selector);
  if (segment === undefined || selector < 4) return undefined;
  const rights = segment.accessRights;
  const isStack = (rights & CODE) === 0 && (rights & WRITABLE) !== 0;
  return isStack && ((rights >> DPL_SHIFT) & 3) === (selector & 3) ? segment : undefined;
}

/** What MOV to DS, ES, FS or GS would load at the CPL of the selector's RPL; `undefined` where it would fault. */
export function dataSegment(domain: XenDomain, vcpu: XenVcpu, selector: number): Segment | undefined {
  if (selector < 4) return { ...NULL_SEGMENT, selector };
  if (!readDescriptor(domain, vcpu, selector)) return undefined;
  const segment = unpack(selector);
  const rights = segment.accessRights;
  if ((rights & (PRESENT | CODE_OR_DATA)) !== (PRESENT | CODE_OR_DATA)) return undefined;
  if ((rights & CODE) !== 0 && (rights & WRITABLE) === 0) return undefined;
  const conforming = (rights & (CODE | 4)) === (CODE | 4);
  return conforming || ((rights >> DPL_SHIFT) & 3) >= (selector & 3) ? segment : undefined;
}

/** Linear address of the instruction at hand. */
export function instructionAddress({ cpu, ring1 }: XenVcpu): bigint {
  return ring1 ? BigInt.asUintN(32, cpu.segment(SegmentIndex.CS).base + cpu.rip) : cpu.rip;
}

export function baseOf(vcpu: XenVcpu, index: number): bigint {
  return vcpu.cpu.segment(index).base;
}

export function setBase(vcpu: XenVcpu, index: number, base: bigint): void {
  vcpu.cpu.setSegment(index, { ...vcpu.cpu.segment(index), base });
}
