/**
 * The common cases of a delivery (SDM vol. 3A, 6.12 and 6.14): an exception, interrupt or INT n from CPL 3 or 0 to a flat code segment
 * of level 0, through a gate of 64 bits in 64-bit mode or of 32 bits in flat 32-bit code. A program of no instruction: it finds vector
 * and error code in the fault slots and whether the event is software's in ARG[0], and either jumps to the handler or leaves all but
 * MMU_FLAGS, TLB, the fault slots and memory below the stack as it was. The rules at length are TypeScript's.
 */
import {
  ARG,
  CPL,
  CR0,
  EFER,
  EFLAGS_SYSTEM,
  FAULT_ERROR_CODE,
  FAULT_VECTOR,
  GDTR_BASE,
  GDTR_LIMIT,
  GPR,
  HIDDEN_GDT_AT,
  IDTR_BASE,
  IDTR_LIMIT,
  LEVELS,
  MMU_FLAGS,
  RIP,
  SEGMENT_ACCESS,
  SEGMENT_SELECTOR,
  TLB,
  TR_ACCESS,
  TR_BASE,
  TR_LIMIT,
} from '../../cpu/state.ts';
import type { Builder } from '../../ir/builder.ts';
import type { Value, Variable } from '../../ir/types.ts';
import { isFlatCode32, isFlatData32 } from '../descriptor-code.ts';
import { Flag, packFlags } from '../flags.ts';
import { FlatDescriptor, FlatRights, RIGHTS_UNUSABLE } from '../flat-segments.ts';
import type { CpuMode } from '../modes.ts';
import { isFlatData, loadCode32, loadFlat, loadStack32, setSegmentSlots } from '../segment-slots.ts';

const CS = 1;
const SS = 2;
const RSP = GPR[4].offset;
const CR0_PE = 1;
const EFER_LMA = 1 << 10;
/** Of 32 bits outside of 64-bit mode, of 64 bits in it; an interrupt gate is one less. */
const TRAP_GATE = 0xf;
/** #DE #BR #UD #NM #TS #NP #SS #GP #PF #MF #AC #XM, which run their instruction again: RF is 1 in the flags they push. */
const FAULTS = 0xb_7ce1;
const PAGE_BYTES = 4096;
const TSS_RSP0 = 4;
const TSS_IST1 = 36;
const TSS32_TYPE = 8;
/** Of access rights: B, a stack pointer of 32 bits. */
const RIGHTS_BIG = 1 << 14;

/** In which modes there is such a program. */
export type EntryMode = Extract<CpuMode, 'long64' | 'flat32'>;

const all = (b: Builder, ...conditions: readonly Value[]): Value => conditions.reduce((sum, each) => b.and(sum, each));
const lacks = (b: Builder, value: Value, bits: number): Value => b.eqz(b.and(value, b.i32(bits)));
const has = (b: Builder, value: Value, bits: number): Value => b.ne(b.and(value, b.i32(bits)), b.i32(0));
const isOuter = (b: Builder): Value => b.eq(b.get(CPL), b.i32(3));
/** i32 0 or 1: CPL 0 or 3. */
const isOfTwoLevels = (b: Builder): Value => b.or(b.eqz(b.get(CPL)), isOuter(b));

export function buildEventEntry(b: Builder, mode: EntryMode): void {
  const opens = () => b.and(b.get(EFLAGS_SYSTEM), b.i32(Flag.AC));
  // AC stays as it is.
  const bank = b.variable(b.select(opens(), b.get(LEVELS.open.bank), b.get(LEVELS.kernel.bank)));
  const isPlain = all(b, b.ne(b.current(bank), b.i32(0)), isOfTwoLevels(b), b.eqz(b.get(HIDDEN_GDT_AT)));
  b.when(mode === 'flat32' ? all(b, isPlain, ...isProtected32(b)) : isPlain, () => {
    b.set(MMU_FLAGS, b.select(opens(), b.get(LEVELS.open.flags), b.get(LEVELS.kernel.flags)));
    b.set(TLB, b.current(bank));
    if (mode === 'long64') enterBy64(b);
    else enterBy32(b);
  });
}

/** Selectors name descriptors, and it is not compatibility mode. */
function isProtected32(b: Builder): readonly Value[] {
  return [
    has(b, b.wrap(b.get(CR0)), CR0_PE),
    lacks(b, b.wrap(b.get(EFER)), EFER_LMA),
    lacks(b, b.get(EFLAGS_SYSTEM), Flag.VM),
  ];
}

/** A gate's halves, and what of it is looked at in both kinds. */
interface Gate {
  readonly low: Variable;
  readonly high: Variable;
  /** Of 16 bytes: the upper half of the offset. */
  readonly upper: Variable;
  /** i32. */
  selector(): Value;
}

/** Do `then` if there is a present interrupt or trap gate that the event may use, with a selector of the GDT that asks for level 0. */
function throughGate(b: Builder, sizeBytes: 8 | 16, then: (gate: Gate) => void): void {
  const at = b.variable(b.mul(b.get(FAULT_VECTOR), b.i32(sizeBytes)));
  b.when(b.leU(b.add(b.current(at), b.i32(sizeBytes - 1)), b.get(IDTR_LIMIT)), () => {
    const linear = () => b.add(b.get(IDTR_BASE), b.extendU(b.current(at)));
    const word = (offset: number) => b.load(offset === 0 ? linear() : b.add(linear(), b.i64(offset)), 4);
    const gate = {
      low: b.variable(word(0)),
      high: b.variable(word(4)),
      upper: b.variable(sizeBytes === 16 ? word(8) : b.i32(0)),
      selector: () => b.shrU(b.current(gate.low), b.i32(16)),
    };
    const high = () => b.current(gate.high);
    const type = b.and(b.shrU(high(), b.i32(8)), b.i32(0x1f));
    const dpl = b.and(b.shrU(high(), b.i32(13)), b.i32(3));
    const isRefused = b.and(b.wrap(b.get(ARG[0])), b.ltU(dpl, b.get(CPL)));
    const conditions = [
      b.eq(b.or(type, b.i32(1)), b.i32(TRAP_GATE)),
      has(b, high(), 0x8000),
      b.eqz(isRefused),
      isInnermost(b, gate.selector()),
    ];
    b.when(all(b, ...conditions), () => then(gate));
  });
}

/** i32 0 or 1: a selector of the GDT, not null, that asks for level 0. */
function isInnermost(b: Builder, selector: Value): Value {
  const isPlain = b.and(b.geU(selector, b.i32(8)), lacks(b, selector, 7));
  return b.and(isPlain, b.leU(b.or(selector, b.i32(7)), b.get(GDTR_LIMIT)));
}
const descriptorOf = (b: Builder, selector: Value): Value => b.load(b.add(b.get(GDTR_BASE), b.extendU(selector)), 8);

/** The flags as the event pushes them (SDM vol. 3B, 18.3.1.1). i32. */
function pushedFlags(b: Builder): Value {
  const vector = b.get(FAULT_VECTOR);
  const isFault = b.and(b.shrU(b.i32(FAULTS), vector), b.ltU(vector, b.i32(32)));
  const resumes = b.and(isFault, b.eqz(b.wrap(b.get(ARG[0]))));
  return b.or(packFlags(b), b.select(resumes, b.i32(Flag.RF), b.i32(0)));
}
const hasErrorCode = (b: Builder): Value => b.geS(b.get(FAULT_ERROR_CODE), b.i32(0));

/** i32 0 or 1: all of the `sizeBytes` (i32) below an address lie in one page, so that the first of them to be written tells of all. */
function isOnePage(b: Builder, top: Value, sizeBytes: Value): Value {
  const last = b.and(b.sub(top, b.i32(1)), b.i32(PAGE_BYTES - 1));
  return b.geU(last, b.sub(sizeBytes, b.i32(1)));
}

/** Push an event's words, the error code last if there is one; answers where they begin. Nothing may have changed before. */
function pushFrame(b: Builder, top: Variable, bytes: 4 | 8, words: readonly (() => Value)[]): () => Value {
  const at = top.type === 'i64' ? (offset: number) => b.i64(offset) : (offset: number) => b.i32(offset);
  const address = (value: Value) => b.extendU(value);
  const frame = b.variable(b.sub(b.current(top), at(words.length * bytes)));
  words.forEach((word, index) => {
    b.store(address(b.add(b.current(frame), at(index * bytes))), bytes, word());
  });
  b.when(hasErrorCode(b), () => {
    b.assign(frame, b.sub(b.current(frame), at(bytes)));
    const code = b.get(FAULT_ERROR_CODE);
    b.store(address(b.current(frame)), bytes, bytes === 8 ? b.extendU(code) : code);
  });
  return () => b.current(frame);
}

function clearFlags(b: Builder, gateHigh: Value): void {
  const isTrap = has(b, gateHigh, 1 << 8);
  const cleared = b.select(isTrap, b.i32(0), b.i32(Flag.IF));
  const kept = b.not(b.or(cleared, b.i32(Flag.TF | Flag.NT | Flag.RF)));
  b.set(EFLAGS_SYSTEM, b.and(b.get(EFLAGS_SYSTEM), kept));
}

/** i32. */
const offsetOf = (b: Builder, { low, high }: Gate): Value =>
  b.or(b.and(b.current(low), b.i32(0xffff)), b.and(b.current(high), b.i32(0xffff_0000 | 0)));

function enterBy64(b: Builder): void {
  throughGate(b, 16, (gate) => {
    const isFlatCode = b.eq(descriptorOf(b, gate.selector()), b.i64(FlatDescriptor.CODE64));
    b.when(isFlatCode, () => {
      const ist = () => b.and(b.current(gate.high), b.i32(7));
      const stack = b.variable(b.getFixed(RSP, 8));
      const isThere = b.variable(b.i32(1));
      b.when(b.or(ist(), isOuter(b)), () => {
        const ofList = b.add(b.shl(ist(), b.i32(3)), b.i32(TSS_IST1 - 8));
        readTss(b, b.select(ist(), ofList, b.i32(TSS_RSP0)), isThere, stack);
      });
      b.assign(stack, b.and(b.current(stack), b.i64(-16)));
      const size = b.select(hasErrorCode(b), b.i32(48), b.i32(40));
      b.when(b.and(b.current(isThere), isOnePage(b, b.wrap(b.current(stack)), size)), () => {
        const selector = (index: number) => b.extendU(selectorIn(b, index));
        const frame = pushFrame(b, stack, 8, [
          () => b.get(RIP),
          () => selector(CS),
          () => b.extendU(pushedFlags(b)),
          () => b.getFixed(RSP, 8),
          () => selector(SS),
        ]);
        b.when(isOuter(b), () => loadNullStack(b));
        loadFlat(b, CS, gate.selector(), b.i32(FlatRights.CODE64));
        b.set(CPL, b.i32(0));
        b.setFixed(RSP, 8, frame());
        clearFlags(b, b.current(gate.high));
        b.jump(b.or(b.extendU(offsetOf(b, gate)), b.shl(b.extendU(b.current(gate.upper)), b.i64(32))));
      });
    });
  });
}

/** Read 8 bytes of the task-state segment into `found`; they are not there: `isThere` becomes 0. */
function readTss(b: Builder, offset: Value, isThere: Variable, found: Variable): void {
  const at = b.variable(offset);
  b.assign(isThere, b.leU(b.add(b.current(at), b.i32(7)), b.get(TR_LIMIT)));
  b.when(b.current(isThere), () => {
    b.assign(found, b.load(b.add(b.get(TR_BASE), b.extendU(b.current(at))), 8));
  });
}

/** SS of 64-bit code that came from an outer level (SDM vol. 3A, 6.14.2). */
function loadNullStack(b: Builder): void {
  const nothing = b.i64(0);
  const none = { base: nothing, limit: b.i32(0), readEnd: nothing, writeEnd: nothing };
  setSegmentSlots(b, SS, { selector: b.i32(0), rights: b.i32(RIGHTS_UNUSABLE), ...none });
}

function enterBy32(b: Builder): void {
  throughGate(b, 8, (gate) => {
    const code = b.variable(descriptorOf(b, gate.selector()));
    b.when(isFlatCode32(b, b.current(code), b.i32(0)), () => {
      b.when(isOuter(b), () => {
        const found = b.variable(b.i64(0));
        const isThere = b.variable(b.i32(0));
        b.when(has(b, b.get(TR_ACCESS), TSS32_TYPE), () => readTss(b, b.i32(TSS_RSP0), isThere, found));
        const selector = b.variable(b.and(b.wrap(b.shrU(b.current(found), b.i64(32))), b.i32(0xffff)));
        b.when(b.and(b.current(isThere), isInnermost(b, b.current(selector))), () => {
          const stack = b.variable(descriptorOf(b, b.current(selector)));
          const pointer = b.variable(b.wrap(b.current(found)));
          b.when(isFlatData32(b, b.current(stack), b.i32(0)), () => {
            const outer = [() => b.getFixed(RSP, 4), () => selectorIn(b, SS)];
            pushAndGo32(b, { gate, code, pointer, outer }, () => loadStack32(b, b.current(selector), b.current(stack)));
          });
        });
      });
      const hasFlatStack = b.and(isFlatData(b, SS), has(b, b.get(SEGMENT_ACCESS[SS]), RIGHTS_BIG));
      b.when(b.and(b.eqz(b.get(CPL)), hasFlatStack), () => {
        pushAndGo32(b, { gate, code, pointer: b.variable(b.getFixed(RSP, 4)), outer: [] }, () => {});
      });
    });
  });
}
const selectorIn = (b: Builder, index: number): Value => b.and(b.get(SEGMENT_SELECTOR[index]), b.i32(0xffff));

interface Entry32 {
  readonly gate: Gate;
  /** The descriptor of the code. */
  readonly code: Variable;
  /** The stack pointer to push below. */
  readonly pointer: Variable;
  /** ESP and SS of the level that is left, if another is. */
  readonly outer: readonly (() => Value)[];
}

function pushAndGo32(b: Builder, { gate, code, pointer, outer }: Entry32, loadStack: () => void): void {
  const words = [() => b.wrap(b.get(RIP)), () => selectorIn(b, CS), () => pushedFlags(b), ...outer];
  const size = () => b.i32(words.length * 4);
  const whole = b.variable(b.select(hasErrorCode(b), b.add(size(), b.i32(4)), size()));
  const isWithin = b.geU(b.current(pointer), b.current(whole));
  b.when(b.and(isWithin, isOnePage(b, b.current(pointer), b.current(whole))), () => {
    const frame = pushFrame(b, pointer, 4, words);
    loadStack();
    loadCode32(b, gate.selector(), b.current(code));
    b.set(CPL, b.i32(0));
    b.setFixed(RSP, 8, b.extendU(frame()));
    clearFlags(b, b.current(gate.high));
    b.jump(b.extendU(offsetOf(b, gate)));
  });
}
