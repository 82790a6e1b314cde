import {
  CPL,
  EFLAGS_SYSTEM,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  LEVELS,
  MMU_FLAGS,
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_LIMIT,
  TLB,
} from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import { FlatDescriptor, FlatRights } from '../../isa/flat-segments.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type Delivery, pushedResumeFlag } from './answer.ts';
import { hasDescriptors, isLongMode } from './mode.ts';
import { nullSegment } from './segments.ts';
import { isWideTss, TSS_IST1, TSS_RSP0 } from './tss.ts';

const GPR_RSP = 4;
const CS = 1;
const SS = 2;
const GATE_BYTES = 16;
const GATE32_BYTES = 8;
/** Of 32 bits outside of 64-bit mode, of 64 bits in it; an interrupt gate is one less. */
const TRAP_GATE = 0xf;
const CODE_LOW = Number(FlatDescriptor.CODE64 & 0xffffffffn);
const CODE_HIGH = Number(FlatDescriptor.CODE64 >> 32n);
/**
 * Descriptors of flat 32-bit segments at level 0, their second words without "accessed" and AVL: code that is not conforming,
 * readable or not; data that can be written and expands up. The first word is FLAT_LOW.
 */
const FLAT_LOW = 0xffff;
const FlatCode32 = { MASK: 0xffeffcff | 0, VALUE: 0x00cf9800 } as const;
const FlatData32 = { MASK: 0xffeffeff | 0, VALUE: 0x00cf9200 } as const;
/** Access rights of such a stack: usable, S, data, writable, expands up, 32 bits. */
const FlatStack = { MASK: (1 << 16) | (1 << 14) | 0x1e, VALUE: (1 << 14) | 0x12 } as const;
/** RIP, CS, RFLAGS, RSP, SS in halves, after the error code if there is one. */
const frame = new Int32Array(12);
const words = new Int32Array(4);
const NULL_STACK = nullSegment(0);

/**
 * The common cases of a delivery (SDM vol. 3A, 6.12 and 6.14): an exception, interrupt or INT n from CPL 3 or 0 to a flat code
 * segment of level 0, through a gate of 64 bits in 64-bit mode or of 32 bits in flat 32-bit code. False: it is another case, or
 * faults, and nothing has changed.
 */
export function deliverDirectly(vcpu: MachineVcpu, event: Delivery): boolean {
  // AC stays as it is.
  const level = vcpu.slot32(EFLAGS_SYSTEM) & Flag.AC ? LEVELS.open : LEVELS.kernel;
  const bank = vcpu.slot32(level.bank);
  if (bank === 0) return false;
  const cpl = vcpu.slot32(CPL);
  if (cpl !== 0 && cpl !== 3) return false;
  const enter = entryFor(vcpu);
  if (!enter) return false;
  const before = { flags: vcpu.slot32(MMU_FLAGS), bank: vcpu.slot32(TLB) };
  vcpu.setSlot32(MMU_FLAGS, vcpu.slot32(level.flags));
  vcpu.setSlot32(TLB, bank);
  if (enter(vcpu, event, cpl)) return true;
  vcpu.setSlot32(MMU_FLAGS, before.flags);
  vcpu.setSlot32(TLB, before.bank);
  return false;
}

function entryFor(vcpu: MachineVcpu): typeof enterThroughGate | undefined {
  const { mode } = vcpu.engine;
  if (mode === 'long64') return enterThroughGate;
  const isPlain = mode === 'flat32' && hasDescriptors(vcpu) && !isLongMode(vcpu);
  return isPlain ? enterThroughGate32 : undefined;
}

/** Read `count` words at an offset from an address in a slot. */
function readTable(vcpu: MachineVcpu, base: typeof GDTR_BASE, offset: number, count: number): boolean {
  const low = (vcpu.slotHalf(base, 0) >>> 0) + offset;
  return vcpu.readWords(low | 0, vcpu.slotHalf(base, 1) + (low > 0xffffffff ? 1 : 0), words, count);
}

/** Read an event's gate into {@link words}; answers its type, 0 for all but a present interrupt or trap gate that the event may use. */
function readGate(
  vcpu: MachineVcpu,
  event: Delivery,
  cpl: number,
  bytes: typeof GATE_BYTES | typeof GATE32_BYTES,
): number {
  const at = event.vector * bytes;
  if (at + bytes - 1 > vcpu.slot32(IDTR_LIMIT) || vcpu.hiddenGdt || !readTable(vcpu, IDTR_BASE, at, bytes / 4))
    return 0;
  const high = words[1];
  const type = (high >>> 8) & 0x1f;
  const isRefused = event.software && ((high >>> 13) & 3) < cpl;
  return (type | 1) === TRAP_GATE && high & 0x8000 && !isRefused ? type : 0;
}

function enterThroughGate(vcpu: MachineVcpu, event: Delivery, cpl: number): boolean {
  const type = readGate(vcpu, event, cpl, GATE_BYTES);
  if (type === 0) return false;
  const [low, high, offsetHigh] = words;
  const selector = low >>> 16;
  if (!readDescriptor(vcpu, selector)) return false;
  if (words[0] !== (CODE_LOW | 0) || words[1] !== CODE_HIGH) return false;
  const { gprHalves } = vcpu;
  let stackLow = gprHalves[2 * GPR_RSP];
  let stackHigh = gprHalves[2 * GPR_RSP + 1];
  const ist = high & 7;
  if (ist > 0 || cpl === 3) {
    if (!readStack(vcpu, ist > 0 ? TSS_IST1 + (ist - 1) * 8 : TSS_RSP0)) return false;
    [stackLow, stackHigh] = words;
  }
  const pushed = pushFrame(vcpu, event, stackLow & ~15, stackHigh);
  if (pushed === undefined) return false;
  if (cpl === 3) vcpu.setSegment(SS, NULL_STACK);
  vcpu.setSegment(CS, { selector, base: 0n, limit: 0xffffffff, accessRights: FlatRights.CODE64 });
  vcpu.setSlot32(CPL, 0);
  gprHalves[2 * GPR_RSP] = pushed;
  gprHalves[2 * GPR_RSP + 1] = stackHigh;
  vcpu.setRip((low & 0xffff) | (high & 0xffff0000), offsetHigh);
  clearFlags(vcpu, type);
  return true;
}

/** The words of a selector's descriptor, if it is one of level 0 in the GDT. */
function readDescriptor(vcpu: MachineVcpu, selector: number): boolean {
  if (selector < 4 || selector & 7 || (selector | 7) > vcpu.slot32(GDTR_LIMIT)) return false;
  return readTable(vcpu, GDTR_BASE, selector, 2);
}
function clearFlags(vcpu: MachineVcpu, gateType: number): void {
  vcpu.clearSystemFlags(Flag.TF | Flag.NT | Flag.RF | (gateType === TRAP_GATE ? 0 : Flag.IF));
}

function enterThroughGate32(vcpu: MachineVcpu, event: Delivery, cpl: number): boolean {
  const type = readGate(vcpu, event, cpl, GATE32_BYTES);
  if (type === 0) return false;
  const [low, high] = words;
  const selector = low >>> 16;
  if (!readDescriptor(vcpu, selector) || !isFlat32(FlatCode32)) return false;
  const codeRights = rights32();
  const { gprHalves } = vcpu;
  let stackPointer = gprHalves[2 * GPR_RSP];
  let stackSelector = 0;
  if (cpl === 3) {
    if (!isWideTss(vcpu.tables.tr) || !readStack(vcpu, TSS_RSP0)) return false;
    [stackPointer, stackSelector] = words;
    stackSelector &= 0xffff;
    if (!readDescriptor(vcpu, stackSelector) || !isFlat32(FlatData32)) return false;
  } else if (!isOnFlatStack(vcpu)) return false;
  const stackRights = rights32();
  const pushed = pushFrame32(vcpu, event, stackPointer, cpl === 3);
  if (pushed === undefined) return false;
  if (cpl === 3)
    vcpu.setSegment(SS, { selector: stackSelector, base: 0n, limit: 0xffffffff, accessRights: stackRights });
  vcpu.setSegment(CS, { selector, base: 0n, limit: 0xffffffff, accessRights: codeRights });
  vcpu.setSlot32(CPL, 0);
  gprHalves[2 * GPR_RSP] = pushed;
  gprHalves[2 * GPR_RSP + 1] = 0;
  vcpu.setRip((low & 0xffff) | (high & 0xffff0000), 0);
  clearFlags(vcpu, type);
  return true;
}

/** The descriptor that has been read is such a segment. */
const isFlat32 = ({ MASK, VALUE }: typeof FlatCode32 | typeof FlatData32): boolean =>
  words[0] === FLAT_LOW && (words[1] & MASK) === VALUE;
/** Its access rights, in the form of cpu/state.ts. */
const rights32 = (): number => (words[1] >>> 8) & 0xf0ff;

function isOnFlatStack(vcpu: MachineVcpu): boolean {
  const isWhole = vcpu.slot32(SEGMENT_LIMIT[SS]) === -1 && vcpu.slotHalf(SEGMENT_BASE[SS], 0) === 0;
  return isWhole && (vcpu.slot32(SEGMENT_ACCESS[SS]) & FlatStack.MASK) === FlatStack.VALUE;
}

/** Push the frame below an address, the stack left too if it goes inward; answers the new ESP. */
function pushFrame32(vcpu: MachineVcpu, event: Delivery, pointer: number, inward: boolean): number | undefined {
  let count = 0;
  if (event.errorCode !== undefined) frame[count++] = event.errorCode;
  frame[count++] = vcpu.ripHalves[0];
  frame[count++] = vcpu.selector(CS);
  frame[count++] = vcpu.eflags | Number(pushedResumeFlag(event));
  if (inward) {
    frame[count++] = vcpu.gprHalves[2 * GPR_RSP];
    frame[count++] = vcpu.selector(SS);
  }
  if (pointer >>> 0 < count * 4) return undefined;
  const pushed = (pointer - count * 4) | 0;
  return vcpu.writeWords(pushed, 0, frame, count) ? pushed : undefined;
}

function readStack(vcpu: MachineVcpu, offset: number): boolean {
  const { tr } = vcpu.tables;
  if (offset + 7 > tr.limit) return false;
  const address = tr.base + BigInt(offset);
  return vcpu.readWords(Number(address & 0xffffffffn) | 0, Number(address >> 32n) | 0, words, 2);
}

/** Push the frame below an aligned address; answers the low half of the new RSP, whose upper half is the same. */
function pushFrame(vcpu: MachineVcpu, event: Delivery, low: number, high: number): number | undefined {
  const { gprHalves, ripHalves } = vcpu;
  const at = event.errorCode === undefined ? 0 : 2;
  frame[0] = event.errorCode ?? 0;
  frame[1] = 0;
  frame[at] = ripHalves[0];
  frame[at + 1] = ripHalves[1];
  frame[at + 2] = vcpu.selector(CS);
  frame[at + 3] = 0;
  frame[at + 4] = vcpu.eflags | Number(pushedResumeFlag(event));
  frame[at + 5] = 0;
  frame[at + 6] = gprHalves[2 * GPR_RSP];
  frame[at + 7] = gprHalves[2 * GPR_RSP + 1];
  frame[at + 8] = vcpu.selector(SS);
  frame[at + 9] = 0;
  const count = at + 10;
  if (low >>> 0 < count * 4) return undefined;
  const pushed = (low - count * 4) | 0;
  return vcpu.writeWords(pushed, high, frame, count) ? pushed : undefined;
}
