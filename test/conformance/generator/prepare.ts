/** What single instructions need of their inputs so that cases are not all faults, or all the same. */
import { OverrideSlot } from '../case.ts';
import { CODE_START, DATA_BASE, DATA_SIZE_BYTES, STACK_START, WINDOW, WINDOW_SIZE_BYTES } from '../layout.ts';
import { integerValue } from '../values.ts';
import type { Draft } from './draft.ts';
import { chooseTarget } from './targets.ts';

const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RBP = 5,
  RSI = 6,
  RDI = 7;
const FLAG_DF = 0x400,
  FLAG_AC = 0x40000,
  FLAG_ID = 0x200000,
  FLAG_TF = 0x100;
/** Of the x87 status word: error summary, and its copy in the busy bit. */
const PENDING = 0x8080;
const SHIFT_COUNTS = [0, 1, 2, 3, 4, 7, 8, 9, 12, 15, 16, 17, 18, 24, 31, 32, 33, 34, 63, 64, 65, 127, 128, 255];

/** An address on the code pages, clear of the instruction itself. */
function codeTarget(draft: Draft): number {
  return (
    CODE_START +
    0x20 +
    draft.random.below(0x700) * (draft.random.oneIn(4) ? -1 : 1) -
    (draft.random.oneIn(4) ? 0x40 : 0)
  );
}

function shiftCount(draft: Draft): bigint {
  return BigInt(draft.random.oneIn(4) ? draft.random.below(256) : draft.random.pick(SHIFT_COUNTS));
}

function shift(draft: Draft): void {
  const codes = draft.variant.row.operandCodes;
  if (codes.some(({ text }) => text === 'CL'))
    draft.setGpr(RCX, (integerValue(draft.random) & ~0xffn) | shiftCount(draft));
  draft.immediate = shiftCount(draft);
}

/** A third of the dividends fit any divisor, a third some, the rest are whatever comes. */
function divide(draft: Draft): void {
  const { random, variant } = draft;
  const signed = draft.mnemonic === 'IDIV';
  const bits = BigInt(variant.row.operandCodes[0].size === 'b' ? 8 : variant.width);
  const kind = random.below(3);
  if (kind === 2) {
    draft.reserved.add(RAX).add(RDX);
    return;
  }
  const low = integerValue(random);
  const extension = signed && (low >> (bits - 1n)) & 1n ? -1n : 0n;
  const high = kind === 0 ? extension : BigInt(random.below(16)) - (signed ? 8n : 0n);
  if (bits === 8n) {
    draft.setGpr(RAX, (integerValue(random) & ~0xffffn) | ((high & 0xffn) << 8n) | (low & 0xffn));
    return;
  }
  draft.setGpr(RAX, low);
  draft.setGpr(RDX, high);
  if (variant.form === 'reg') draft.rm = random.pick([RBX, RSI, RDI, RBP, RCX]);
}

/** Bit offsets in a register reach beyond the operand in memory: keep them near. */
function bitTest(draft: Draft): void {
  const { random, variant } = draft;
  draft.immediate = BigInt(random.below(256));
  if (variant.form !== 'mem' || !variant.row.operandCodes.some(({ letter }) => letter === 'G')) return;
  draft.reg = random.pick([RAX, RDX, RBX, RSI]);
  const noise = variant.width === 64 ? 0n : integerValue(random) << BigInt(variant.width);
  draft.setGpr(draft.reg, noise | BigInt.asUintN(variant.width, BigInt(random.below(512) - 256)));
}

function stringOperation(draft: Draft): void {
  const { random } = draft;
  const bytes = 8;
  const long64 = draft.variant.mode === 'long64';
  draft.setGpr(RSI, chooseTarget(random, bytes, long64));
  // Which of two faulting accesses comes first is not defined: at most one pointer is left to chance.
  const near = () => WINDOW + random.below(WINDOW_SIZE_BYTES - bytes);
  if (random.oneIn(2)) draft.setGpr(RSI, near());
  const source = draft.overrides.get(RSI) as bigint;
  const isNear = source >= WINDOW && source < WINDOW + WINDOW_SIZE_BYTES;
  draft.setGpr(RDI, isNear ? (random.oneIn(4) ? source : chooseTarget(random, bytes, long64)) : near());
  draft.setGpr(RCX, random.oneIn(6) ? 0 : random.below(24));
  draft.setFlags((flags) => (random.oneIn(3) ? flags | FLAG_DF : flags));
  if (draft.mnemonic.startsWith('SCAS') && random.oneIn(2)) draft.setGpr(RAX, random.oneIn(2) ? 0 : -1);
}

/** Half of the comparisons succeed. */
function compareExchange(draft: Draft): void {
  const { random, variant } = draft;
  draft.reserved.add(RAX);
  if (!random.oneIn(2)) return;
  if (variant.form === 'reg') {
    const value = integerValue(random);
    draft.rm = random.pick([RCX, RDX, RBX, RSI]);
    draft.setGpr(RAX, value);
    draft.setGpr(draft.rm, value);
    return;
  }
  draft.finish = (target, gpr) => patchWindow(draft, target, gpr[RAX], 8);
}

/** Patches only where a patch may go: targets on the edge of nowhere stay what they are. */
function patchWindow(draft: Draft, target: number | undefined, value: bigint, sizeBytes: number): void {
  if (target === undefined || target < WINDOW || target + sizeBytes > WINDOW + 0x400) return;
  draft.patch(target, value, sizeBytes);
}

function compareExchangeWide(draft: Draft): void {
  draft.reserved.add(RAX).add(RDX).add(RBX).add(RCX);
  if (draft.random.oneIn(3)) return;
  const half = draft.mnemonic === 'CMPXCHG16B' ? 8 : 4;
  draft.finish = (target, gpr) => {
    patchWindow(draft, target, gpr[RAX], half);
    if (target !== undefined) patchWindow(draft, target + half, gpr[RDX], half);
  };
}

function branchRelative(draft: Draft): void {
  const { random } = draft;
  draft.immediate = BigInt(random.oneIn(2) ? random.below(0x70) : -0x20 - random.below(0x60));
  if (draft.mnemonic.startsWith('LOOP') || /^J(E|R)?CXZ$/.test(draft.mnemonic)) {
    draft.setGpr(RCX, random.pick([0n, 1n, 2n, 0x100000000n, 0x100000001n, 0x10000n, 0xffffffffn, -1n]));
  }
}

function branchIndirect(draft: Draft): void {
  const { variant, random } = draft;
  if (random.oneIn(6)) return;
  const target = BigInt(codeTarget(draft));
  if (variant.form === 'reg') {
    draft.rm = random.below(draft.registerCount);
    if (draft.rm === 4) draft.rm = RAX;
    draft.setGpr(draft.rm, target);
    return;
  }
  draft.finish = (at) => patchWindow(draft, at, target, 8);
}

function returnNear(draft: Draft): void {
  draft.immediate = BigInt(draft.random.below(64));
  if (!draft.random.oneIn(8)) draft.patch(STACK_START, BigInt(codeTarget(draft)), 8);
}

function popFlags(draft: Draft): void {
  draft.patch(STACK_START, BigInt(draft.random.next() & ~FLAG_TF), 8);
}

function pushFlags(draft: Draft): void {
  const { random } = draft;
  draft.setFlags((flags) => flags | (random.next() & (FLAG_DF | FLAG_AC | FLAG_ID)));
}

function frame(draft: Draft): void {
  const { random } = draft;
  draft.setGpr(
    RBP,
    random.oneIn(8)
      ? chooseTarget(random, 8, draft.variant.mode === 'long64')
      : STACK_START - 0x300 + 8 * random.below(0x60),
  );
  draft.immediate = BigInt(random.below(0x200)) | (BigInt(random.pick([0, 0, 1, 2, 3, 5, 31, 33])) << 16n);
}

function loadMxcsr(draft: Draft): void {
  const { random } = draft;
  const value = random.oneIn(6) ? random.next() : random.next() & 0xffff;
  draft.finish = (target) => patchWindow(draft, target, BigInt(value), 4);
}

/** A save area that FXRSTOR and XRSTOR can take; now and then one that they cannot. */
function restoreArea(draft: Draft): void {
  const { random } = draft;
  draft.setGpr(RAX, random.below(4));
  draft.setGpr(RDX, 0);
  draft.finish = (target) => {
    if (target === undefined || target % 64 !== 0 || target > WINDOW + 0x1000 || target < WINDOW - 0x800) return;
    draft.patch(target + 24, BigInt(random.oneIn(8) ? random.next() : random.next() & 0xffff), 4);
    if (!draft.mnemonic.startsWith('X')) return;
    draft.patch(target + 512, BigInt(random.oneIn(10) ? random.next() : random.below(4)), 8);
    for (let at = 520; at < 576; at += 8) draft.patch(target + at, 0n, 8);
  };
}

/** MXCSR: roundings, DAZ, FZ, sticky flags; rarely unmasked exceptions. */
export function floatingControl(draft: Draft): void {
  const { random } = draft;
  let mxcsr = 0x1f80;
  if (random.oneIn(3)) mxcsr |= random.below(4) << 13;
  if (random.oneIn(6)) mxcsr |= 0x8000;
  if (random.oneIn(6)) mxcsr |= 0x40;
  if (random.oneIn(8)) mxcsr |= random.below(64);
  if (random.oneIn(10)) mxcsr &= ~(random.below(64) << 7);
  if (mxcsr !== 0x1f80) draft.overrides.set(OverrideSlot.mxcsr, BigInt(mxcsr));
}

/** Control word: precision, rounding; rarely unmasked exceptions. */
export function x87Control(draft: Draft): void {
  const { random } = draft;
  let control = 0x37f;
  if (random.oneIn(3)) control = (control & ~0xc00) | (random.below(4) << 10);
  if (random.oneIn(5)) control = (control & ~0x300) | (random.pick([0, 2, 3]) << 8);
  if (random.oneIn(12)) control &= ~random.below(64);
  if (control !== 0x37f) draft.overrides.set(OverrideSlot.x87Control, BigInt(control));
}

/** Rarely, an x87 exception that waits to be reported. */
export function x87Pending(draft: Draft): void {
  const { random } = draft;
  if (!random.oneIn(12)) return;
  const exceptions = 1 + random.below(63);
  draft.overrides.set(OverrideSlot.x87Control, BigInt(0x37f & ~exceptions));
  draft.overrides.set(OverrideSlot.x87Status, BigInt(PENDING | (random.below(8) << 11) | exceptions));
}

/** Whether bytes that are masked out can fault is the processor's choice: all bytes lie where they may, or none. */
function maskedStore(draft: Draft): void {
  const { random } = draft;
  // A fault of MASKMOVQ comes with the x87 state changed or not.
  const mayFault = draft.mnemonic === 'MASKMOVDQU' && random.oneIn(6);
  draft.setGpr(RDI, mayFault ? DATA_BASE + DATA_SIZE_BYTES : WINDOW + random.below(WINDOW_SIZE_BYTES - 16));
}

const PREPARATIONS: readonly (readonly [RegExp, (draft: Draft) => void])[] = [
  [/^(ROL|ROR|RCL|RCR|SHL|SAL|SHR|SAR|SHLD|SHRD)$/, shift],
  [/^I?DIV$/, divide],
  [/^BT[SRC]?$/, bitTest],
  [/^(MOVS|CMPS|SCAS|LODS|STOS)[BWDQ]?$/, stringOperation],
  [/^CMPXCHG$/, compareExchange],
  [/^CMPXCHG(8|16)B$/, compareExchangeWide],
  [/^(J(?!MP)\w+|LOOP\w*)$/, branchRelative],
  [/^RET[NF]?$/, returnNear],
  [/^POPF[DQ]?$/, popFlags],
  [/^PUSHF[DQ]?$/, pushFlags],
  [/^(ENTER|LEAVE)$/, frame],
  [/^LDMXCSR$/, loadMxcsr],
  [/^(FXRSTOR|XRSTOR|XSAVE|FXSAVE)/, restoreArea],
  [/^XLATB?$/, (draft) => draft.setGpr(RBX, WINDOW - 0x40)],
  [/^MASKMOV/, maskedStore],
  [/^(CALL|JMP)$/, (draft) => (draft.variant.form === 'none' ? branchRelative(draft) : branchIndirect(draft))],
  [/^CLZERO$/, (draft) => draft.setGpr(RAX, WINDOW)],
];

export function prepare(draft: Draft): void {
  for (const [pattern, preparation] of PREPARATIONS) if (pattern.test(draft.mnemonic)) preparation(draft);
}
