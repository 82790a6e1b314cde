import {
  CPL,
  EFLAGS_SYSTEM,
  GDTR_BASE,
  GDTR_LIMIT,
  IDTR_BASE,
  IDTR_LIMIT,
  LEVELS,
  MMU_FLAGS,
  TLB,
} from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import { FlatDescriptor, FlatRights } from '../../isa/flat-segments.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type Delivery, pushedResumeFlag } from './answer.ts';
import { nullSegment } from './segments.ts';
import { TSS_IST1, TSS_RSP0 } from './tss.ts';

const GPR_RSP = 4;
const CS = 1;
const SS = 2;
const GATE_BYTES = 16;
const TRAP_GATE = 0xf;
const CODE_LOW = Number(FlatDescriptor.CODE64 & 0xffffffffn);
const CODE_HIGH = Number(FlatDescriptor.CODE64 >> 32n);
/** RIP, CS, RFLAGS, RSP, SS in halves, after the error code if there is one. */
const frame = new Int32Array(12);
const words = new Int32Array(4);
const NULL_STACK = nullSegment(0);

/**
 * The common case of a delivery in 64-bit mode (SDM vol. 3A, 6.14): an exception or interrupt from CPL 3 or 0, through a
 * gate of 64 bits to the flat code segment of level 0. False: it is another case, or faults, and nothing has changed.
 */
export function deliverDirectly(vcpu: MachineVcpu, event: Delivery): boolean {
  // AC stays as it is.
  const level = vcpu.slot32(EFLAGS_SYSTEM) & Flag.AC ? LEVELS.open : LEVELS.kernel;
  const bank = vcpu.slot32(level.bank);
  if (bank === 0 || event.software || vcpu.engine.mode !== 'long64') return false;
  const cpl = vcpu.slot32(CPL);
  if (cpl !== 0 && cpl !== 3) return false;
  const before = { flags: vcpu.slot32(MMU_FLAGS), bank: vcpu.slot32(TLB) };
  vcpu.setSlot32(MMU_FLAGS, vcpu.slot32(level.flags));
  vcpu.setSlot32(TLB, bank);
  if (enterThroughGate(vcpu, event, cpl)) return true;
  vcpu.setSlot32(MMU_FLAGS, before.flags);
  vcpu.setSlot32(TLB, before.bank);
  return false;
}

/** Read `count` words at an offset from an address in a slot. */
function readTable(vcpu: MachineVcpu, base: typeof GDTR_BASE, offset: number, count: number): boolean {
  const low = (vcpu.slotHalf(base, 0) >>> 0) + offset;
  return vcpu.readWords(low | 0, vcpu.slotHalf(base, 1) + (low > 0xffffffff ? 1 : 0), words, count);
}

function enterThroughGate(vcpu: MachineVcpu, event: Delivery, cpl: number): boolean {
  const at = event.vector * GATE_BYTES;
  if (at + GATE_BYTES - 1 > vcpu.slot32(IDTR_LIMIT) || vcpu.hiddenGdt || !readTable(vcpu, IDTR_BASE, at, 4))
    return false;
  const [low, high, offsetHigh] = words;
  const type = (high >>> 8) & 0x1f;
  if ((type | 1) !== TRAP_GATE || !(high & 0x8000)) return false;
  const selector = low >>> 16;
  if (selector < 4 || selector & 7 || (selector | 7) > vcpu.slot32(GDTR_LIMIT)) return false;
  if (!readTable(vcpu, GDTR_BASE, selector, 2)) return false;
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
  const cleared = Flag.TF | Flag.NT | Flag.RF | (type === TRAP_GATE ? 0 : Flag.IF);
  vcpu.clearSystemFlags(cleared);
  return true;
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
