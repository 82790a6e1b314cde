import { CODE_START, FS_BASE, GS_BASE, STACK_START, WINDOW, WINDOW_SIZE_BYTES } from './layout.ts';
import { Random } from './random.ts';
import { f32Value, f64Value, f80Value, integerValue } from './values.ts';

export const MODES = ['long64', 'flat32'] as const;
export type CaseMode = (typeof MODES)[number];

/** What the random part of a case's registers and data holds. Order is the number in case files. */
export const FLAVOURS = ['integer', 'f32', 'f64', 'f80', 'random'] as const;
export type Flavour = (typeof FLAVOURS)[number];

/** What an override sets, beside the general registers 0–15. */
export const OverrideSlot = { rflags: 16, mxcsr: 17, x87Control: 18, x87Status: 19, x87Tag: 20 } as const;

export interface Patch {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** A case as it stands in the file: everything else follows from `seed` and `flavour`. */
export interface CaseInput {
  readonly mode: CaseMode;
  readonly code: Uint8Array;
  readonly codeAddress: number;
  readonly seed: number;
  readonly flavour: Flavour;
  readonly overrides: ReadonlyMap<number, bigint>;
  readonly patches: readonly Patch[];
}

/** The registers of a user-mode program. */
export interface CpuImage {
  /** Unsigned, in encoding order. */
  readonly gpr: bigint[];
  rip: bigint;
  rflags: number;
  mxcsr: number;
  /** XMM0–15, 16 bytes each. */
  readonly xmm: Uint8Array;
  x87Control: number;
  x87Status: number;
  /** One bit per physical register, 1 = in use (as FXSAVE stores it). */
  x87Tag: number;
  /** ST(0)–ST(7), 10 bytes each. */
  readonly st: Uint8Array;
  fsBase: bigint;
  gsBase: bigint;
}

/** How a case ended. */
export interface Outcome {
  /** 3: came to an INT3 (`image.rip` is its last byte); otherwise the exception raised. */
  readonly vector: number;
  readonly errorCode: number;
  /** CR2, for vector 14; otherwise 0. */
  readonly cr2: bigint;
  readonly image: CpuImage;
  /** Bytes of memory that the case changed, in ascending order. */
  readonly changes: readonly Patch[];
}

export interface RecordedCase {
  readonly input: CaseInput;
  readonly outcome: Outcome;
}

/** A case with all registers and memory patches spelled out. */
export interface ExpandedCase {
  readonly input: CaseInput;
  readonly image: CpuImage;
  /** Code, window and the case's own patches, in the order in which they are to be written. */
  readonly patches: readonly Patch[];
}

const RFLAGS_FIXED = 0x202;
const ARITHMETIC = 0x8d5;

export function expand(input: CaseInput): ExpandedCase {
  const random = new Random(input.seed);
  const image: CpuImage = {
    gpr: Array.from({ length: 16 }, () => integerValue(random)),
    rip: BigInt(input.codeAddress),
    rflags: RFLAGS_FIXED | (random.next() & ARITHMETIC),
    mxcsr: 0x1f80,
    xmm: vectorBytes(random, input.flavour, 256),
    ...x87State(random),
    fsBase: BigInt(FS_BASE),
    gsBase: BigInt(GS_BASE),
  };
  image.gpr[4] = BigInt(STACK_START);
  const window: Patch = { address: WINDOW, bytes: windowBytes(random, input.flavour) };
  for (const [slot, value] of input.overrides) override(image, slot, value);
  if (input.mode === 'flat32')
    image.gpr.forEach((value, i) => (image.gpr[i] = i < 8 ? BigInt.asUintN(32, value) : value));
  return { input, image, patches: [window, { address: input.codeAddress, bytes: input.code }, ...input.patches] };
}

function override(image: CpuImage, slot: number, value: bigint): void {
  if (slot < 16) image.gpr[slot] = BigInt.asUintN(64, value);
  else if (slot === OverrideSlot.rflags) image.rflags = Number(value);
  else if (slot === OverrideSlot.mxcsr) image.mxcsr = Number(value);
  else if (slot === OverrideSlot.x87Control) image.x87Control = Number(value);
  else if (slot === OverrideSlot.x87Status) image.x87Status = Number(value);
  else if (slot === OverrideSlot.x87Tag) image.x87Tag = Number(value);
  else throw new Error(`a case overrides unknown slot ${slot}`);
}

/** A proper stack of up to eight values, with its top anywhere; now and then any set of registers in use. */
function x87State(random: Random): Pick<CpuImage, 'x87Control' | 'x87Status' | 'x87Tag' | 'st'> {
  const top = random.below(8);
  const depth = random.pick([0, 1, 2, 3, 4, 4, 5, 6, 7, 8]);
  let tag = 0;
  for (let i = 0; i < depth; i++) tag |= 1 << ((top + i) & 7);
  if (random.oneIn(8)) tag = random.below(256);
  const conditionCodes = random.next() & 0x4700;
  return { x87Control: 0x37f, x87Status: (top << 11) | conditionCodes, x87Tag: tag, st: f80Bytes(random, 8) };
}

function f80Bytes(random: Random, count: number): Uint8Array {
  const bytes = new Uint8Array(count * 10);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const { exponent, significand } = f80Value(random);
    view.setBigUint64(i * 10, significand, true);
    view.setUint16(i * 10 + 8, exponent, true);
  }
  return bytes;
}

function windowBytes(random: Random, flavour: Flavour): Uint8Array {
  const bytes = vectorBytes(random, flavour === 'f80' ? 'integer' : flavour, WINDOW_SIZE_BYTES);
  if (flavour !== 'f80') return bytes;
  // An 80-bit value in each 16 bytes, so that operands of the usual alignments meet one.
  const values = f80Bytes(random, 4);
  for (let i = 0; i < 4; i++) bytes.set(values.subarray(i * 10, i * 10 + 10), i * 16);
  return bytes;
}

function vectorBytes(random: Random, flavour: Flavour, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < count; at += 8) {
    if (flavour === 'f32') {
      view.setUint32(at, f32Value(random), true);
      view.setUint32(at + 4, f32Value(random), true);
    } else if (flavour === 'f64') view.setBigUint64(at, f64Value(random), true);
    else if (flavour === 'random') view.setBigUint64(at, random.next64(), true);
    else if (random.oneIn(2)) view.setBigUint64(at, integerValue(random), true);
    else for (let i = 0; i < 8; i += 2) view.setUint16(at + i, Number(integerValue(random) & 0xffffn), true);
  }
  return bytes;
}

export function cloneImage(image: CpuImage): CpuImage {
  return { ...image, gpr: [...image.gpr], xmm: image.xmm.slice(), st: image.st.slice() };
}

/** A case's defaults, for those who build one. */
export function makeInput(code: ArrayLike<number>, rest: Partial<CaseInput> = {}): CaseInput {
  return {
    mode: 'long64',
    codeAddress: CODE_START,
    seed: 1,
    flavour: 'integer',
    overrides: new Map(),
    patches: [],
    ...rest,
    code: Uint8Array.from(code),
  };
}
