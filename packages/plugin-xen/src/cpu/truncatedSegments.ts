/**
 * Segments that 32-bit Xen ended below its hole, and what it did when an offset beyond that end, taken modulo 4 GiB, was the
 * guest's all the same: thread-local storage at negative offsets (xen/arch/x86/x86_32/seg_fixup.c of Xen 4.2). A guest that turns
 * 4gb_segments_notify on gets them; others have segments of 4 GiB, as under 64-bit Xen.
 */
import { Gpr, type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import { PAE_HOLE_START } from '../abi/model.ts';
import type { XenVcpu } from '../domain.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { baseOf, TRUNCATES_SEGMENTS } from './descriptorCheck.ts';
import { ldtFrame } from './descriptors.ts';
import { instructionAddress } from './segments.ts';
import { injectException } from './traps.ts';

/** VMASST_TYPE_4gb_segments (public/xen.h). */
const ASSIST_4GB_SEGMENTS = 1 << 0;
/** Where the guest is told: its handler of this vector. */
const NOTIFY_VECTOR = 15;
const MOST_BYTES = 15;
const END_OF_4_GIB = 2 ** 32;
const LIMIT_HIGH = 0x8f_0000;
const LDT_SELECTOR = 4;

/**
 * #GP(0) of a PV32 guest: if the instruction's operand lies beyond the end of a truncated segment, which would wrap to the
 * guest's own memory, the segment grows to 4 GiB, for good, the guest is told, and the instruction begins anew.
 */
export function growSegment(domain: PvDomain, vcpu: XenVcpu): boolean {
  const needed = ASSIST_4GB_SEGMENTS | TRUNCATES_SEGMENTS;
  if (!vcpu.ring1 || (domain.vmAssist & needed) !== needed) return false;
  const operand = memoryOperand(readCode(vcpu), vcpu);
  if (operand === undefined) return false;
  const segment = vcpu.cpu.segment(operand.segment);
  const base = Number(segment.base);
  const wraps = base + operand.offset >= END_OF_4_GIB && base + operand.offset - END_OF_4_GIB < Number(PAE_HOLE_START);
  if (operand.offset <= segment.limit || !wraps || !grow(domain, vcpu, segment)) return false;
  domain.host.count('segmentsGrown');
  if (vcpu.traps[NOTIFY_VECTOR].address !== 0n) injectException(domain, vcpu, NOTIFY_VECTOR);
  return true;
}

/** In its table and in all registers that hold it; `false`: it is not one that was truncated. */
function grow(domain: PvDomain, vcpu: XenVcpu, segment: Segment): boolean {
  const at = descriptorAt(domain, vcpu, segment.selector);
  if (at === undefined) return false;
  const { words } = domain.memory;
  // The table may have another one by now.
  if (baseOf(words[at], words[at + 1]) !== Number(segment.base)) return false;
  // It ends within the page below the hole.
  if (segment.base === 0n || Number(segment.base) + segment.limit + PAGE_BYTES < Number(PAE_HOLE_START)) return false;
  words[at] |= 0xffff;
  words[at + 1] |= LIMIT_HIGH;
  for (const register of [SegmentIndex.ES, SegmentIndex.DS, SegmentIndex.FS, SegmentIndex.GS]) {
    const held = vcpu.cpu.segment(register);
    if (held.selector === segment.selector)
      vcpu.cpu.setSegment(register, { ...held, limit: 0xffff_ffff, accessRights: held.accessRights | 0x8000 });
  }
  return true;
}

/** Index, in memory's words, of the descriptor that a selector names in the guest's GDT or LDT; `undefined`: there is none. */
function descriptorAt(domain: PvDomain, vcpu: XenVcpu, selector: number): number | undefined {
  const index = selector >>> 3;
  const isLdt = (selector & LDT_SELECTOR) !== 0;
  if (index >= (isLdt ? vcpu.ldtEntries : vcpu.gdtEntries)) return undefined;
  const frame = isLdt ? ldtFrame(domain, vcpu, index >>> 9) : vcpu.gdtFrames[index >>> 9];
  return frame === undefined ? undefined : frame * (PAGE_BYTES / 4) + (index & 511) * 2;
}

function readCode(vcpu: XenVcpu): Uint8Array {
  const at = instructionAddress(vcpu);
  const whole = vcpu.cpu.read(at, MOST_BYTES);
  if (whole.ok) return whole.bytes;
  const toPageEnd = PAGE_BYTES - Number(at & 0xfffn);
  const part = toPageEnd < MOST_BYTES ? vcpu.cpu.read(at, toPageEnd) : whole;
  return part.ok ? part.bytes : new Uint8Array();
}

interface MemoryOperand {
  readonly segment: number;
  /** 0 to 2³² − 1. */
  readonly offset: number;
}

const OVERRIDES: ReadonlyMap<number, number> = new Map([
  [0x26, SegmentIndex.ES],
  [0x2e, SegmentIndex.CS],
  [0x36, SegmentIndex.SS],
  [0x3e, SegmentIndex.DS],
  [0x64, SegmentIndex.FS],
  [0x65, SegmentIndex.GS],
]);
const IGNORED_PREFIXES: ReadonlySet<number> = new Set([0x66, 0xf0, 0xf2, 0xf3]);

/** The operand in memory that ModR/M, or the offset of MOV A0 to A3, names (SDM vol. 2A, 2.1.5), of 32-bit addressing. */
function memoryOperand(code: Uint8Array, { cpu }: XenVcpu): MemoryOperand | undefined {
  let at = 0;
  let override: number | undefined;
  for (; OVERRIDES.has(code[at]) || IGNORED_PREFIXES.has(code[at]); at++)
    override = OVERRIDES.get(code[at]) ?? override;
  const view = new DataView(code.buffer, code.byteOffset, code.length);
  const displacement = (place: number, bytes: 1 | 4): number =>
    place + bytes > code.length ? Number.NaN : bytes === 1 ? view.getInt8(place) : view.getInt32(place, true);
  const opcode = code[at++];
  if (opcode >= 0xa0 && opcode <= 0xa3) return operandOf(override ?? SegmentIndex.DS, displacement(at, 4));
  if (!(opcode === 0x0f ? hasModRmBehind0f(code[at++]) : hasModRm(opcode))) return undefined;
  const modRm = code[at++];
  const mode = modRm >> 6;
  if (mode === 3) return undefined;
  const register = (index: number) => cpu.gprHalves[2 * index];
  let base = modRm & 7;
  let sum = 0;
  if (base === Gpr.RSP) {
    const sib = code[at++];
    base = sib & 7;
    const index = (sib >> 3) & 7;
    if (index !== Gpr.RSP) sum += register(index) << (sib >> 6);
  }
  const isAbsolute = mode === 0 && base === Gpr.RBP;
  if (!isAbsolute) sum += register(base);
  if (mode === 1) sum += displacement(at, 1);
  else if (mode === 2 || isAbsolute) sum += displacement(at, 4);
  const onStack = !isAbsolute && (base === Gpr.RSP || base === Gpr.RBP);
  return operandOf(override ?? (onStack ? SegmentIndex.SS : SegmentIndex.DS), sum);
}
const operandOf = (segment: number, sum: number): MemoryOperand | undefined =>
  Number.isNaN(sum) ? undefined : { segment, offset: sum >>> 0 };

/** Opcodes with a memory operand that is accessed (SDM vol. 2D, tables ). */
function hasModRm(opcode: number): boolean {
  if (opcode < 0x40) return (opcode & 7) < 4;
  if (opcode >= 0x80 && opcode <= 0x8f) return opcode !== 0x8d;
  if (opcode >= 0xd0 && opcode <= 0xdf) return (opcode & 0xfc) !== 0xd4;
  return [0x63, 0x69, 0x6b, 0xc0, 0xc1, 0xc4, 0xc5, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff].includes(opcode);
}
function hasModRmBehind0f(opcode: number): boolean {
  if (opcode >= 0x10 && opcode <= 0x17) return true;
  if (opcode >= 0x28 && opcode <= 0x2f) return true;
  if (opcode >= 0x40 && opcode <= 0x7f) return opcode !== 0x77;
  if (opcode >= 0x90 && opcode <= 0x9f) return true;
  return (
    opcode >= 0xa3 && opcode <= 0xc7 && (opcode & 0xf6) !== 0xa0 && ![0xa6, 0xa7, 0xa8, 0xa9, 0xaa].includes(opcode)
  );
}
