import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { Reader, Writer } from './bytes.ts';
import {
  type CaseInput,
  type CpuImage,
  cloneImage,
  type ExpandedCase,
  expand,
  FLAVOURS,
  MODES,
  type Outcome,
  type Patch,
} from './case.ts';

/** What is said about a case file beside its cases. */
export interface CaseFileHeader {
  readonly format: 1;
  /** Processor that recorded the outcomes: vendor, family, model, stepping, name. */
  readonly processor: string;
  readonly description: string;
}

export interface CaseFile {
  readonly header: CaseFileHeader;
  /** Cases one by one; outcomes are stored as differences and spelled out here. */
  cases(): Generator<{ readonly expanded: ExpandedCase; readonly outcome: Outcome }>;
}

const MAGIC = 0x53435650;

/** Bits of an outcome's field mask after the 16 general and the 16 XMM registers (second word). */
const Field = {
  rflags: 1,
  mxcsr: 2,
  x87Control: 4,
  x87Status: 8,
  x87Tag: 16,
  st: 32,
  fsBase: 64,
  gsBase: 128,
  farRip: 256,
} as const;

/** ST order → order of the physical registers, and back with `-top`. */
function rotate(st: Uint8Array, by: number): Uint8Array {
  const rotated = new Uint8Array(80);
  for (let i = 0; i < 8; i++) rotated.set(st.subarray(i * 10, i * 10 + 10), ((i + by) & 7) * 10);
  return rotated;
}
const topOf = (status: number) => (status >> 11) & 7;
export const physicalX87 = (image: CpuImage) => rotate(image.st, topOf(image.x87Status));

const differs = (a: Uint8Array, b: Uint8Array, at: number, count: number) => {
  for (let i = at; i < at + count; i++) if (a[i] !== b[i]) return true;
  return false;
};

export function encodeFile(
  header: CaseFileHeader,
  cases: Iterable<{ expanded: ExpandedCase; outcome: Outcome }>,
): Uint8Array {
  const writer = new Writer();
  writer.u32(MAGIC);
  const text = new TextEncoder().encode(JSON.stringify(header));
  writer.varint(text.length);
  writer.bytes(text);
  for (const { expanded, outcome } of cases) {
    putInput(writer, expanded.input);
    putOutcome(writer, expanded.image, outcome);
  }
  return brotliCompressSync(writer.view(), {
    params: { [constants.BROTLI_PARAM_QUALITY]: 9, [constants.BROTLI_PARAM_LGWIN]: 24 },
  });
}

export function decodeFile(compressed: Uint8Array): CaseFile {
  const bytes = new Uint8Array(brotliDecompressSync(compressed));
  const reader = new Reader(bytes);
  if (reader.u32() !== MAGIC) throw new Error('not a case file');
  const header = JSON.parse(new TextDecoder().decode(reader.bytes(reader.varint()))) as CaseFileHeader;
  if (header.format !== 1) throw new Error(`case file format ${header.format} is not known`);
  const start = reader.at;
  return {
    header,
    *cases() {
      const each = new Reader(bytes);
      each.at = start;
      while (!each.done) {
        const expanded = expand(takeInput(each));
        yield { expanded, outcome: takeOutcome(each, expanded.image) };
      }
    },
  };
}

function putInput(writer: Writer, input: CaseInput): void {
  writer.u8(MODES.indexOf(input.mode) | (FLAVOURS.indexOf(input.flavour) << 4));
  writer.varint(input.code.length);
  writer.bytes(input.code);
  writer.u32(input.codeAddress);
  writer.u32(input.seed);
  writer.u8(input.overrides.size);
  for (const [slot, value] of input.overrides) {
    writer.u8(slot);
    writer.u64(value);
  }
  putPatches(writer, input.patches);
}

function takeInput(reader: Reader): CaseInput {
  const kind = reader.u8();
  const code = reader.bytes(reader.varint());
  const codeAddress = reader.u32();
  const seed = reader.u32();
  const overrides = new Map<number, bigint>();
  for (let count = reader.u8(); count > 0; count--) {
    const slot = reader.u8();
    overrides.set(slot, reader.u64());
  }
  return {
    mode: MODES[kind & 15],
    flavour: FLAVOURS[kind >> 4],
    code,
    codeAddress,
    seed,
    overrides,
    patches: takePatches(reader),
  };
}

function putPatches(writer: Writer, patches: readonly Patch[]): void {
  writer.varint(patches.length);
  for (const { address, bytes } of patches) {
    writer.u32(address);
    writer.varint(bytes.length);
    writer.bytes(bytes);
  }
}

function takePatches(reader: Reader): Patch[] {
  return Array.from({ length: reader.varint() }, () => {
    const address = reader.u32();
    return { address, bytes: reader.bytes(reader.varint()) };
  });
}

function putOutcome(writer: Writer, before: CpuImage, outcome: Outcome): void {
  const after = outcome.image;
  writer.u8(outcome.vector);
  if (outcome.vector !== 3) {
    writer.varint(outcome.errorCode);
    if (outcome.vector === 14) writer.u64(outcome.cr2);
  }
  let registers = 0;
  for (let i = 0; i < 16; i++) {
    if (after.gpr[i] !== before.gpr[i]) registers |= 1 << i;
    if (differs(after.xmm, before.xmm, i * 16, 16)) registers |= 1 << (i + 16);
  }
  const distance = after.rip - before.rip;
  const near = distance >= 0n && distance < 256n;
  const physicalBefore = physicalX87(before);
  const physicalAfter = physicalX87(after);
  let fields = near ? 0 : Field.farRip;
  for (const name of ['rflags', 'mxcsr', 'x87Control', 'x87Status', 'x87Tag', 'fsBase', 'gsBase'] as const) {
    if (after[name] !== before[name]) fields |= Field[name];
  }
  if (differs(physicalAfter, physicalBefore, 0, 80)) fields |= Field.st;
  writer.u32(registers >>> 0);
  writer.varint(fields);
  if (near) writer.u8(Number(distance));
  else writer.u64(after.rip);
  for (let i = 0; i < 16; i++) if (registers & (1 << i)) writer.u64(after.gpr[i]);
  for (let i = 0; i < 16; i++) if (registers & (1 << (i + 16))) writer.bytes(after.xmm.subarray(i * 16, i * 16 + 16));
  if (fields & Field.rflags) writer.u32(after.rflags);
  if (fields & Field.mxcsr) writer.u32(after.mxcsr);
  if (fields & Field.x87Control) writer.varint(after.x87Control);
  if (fields & Field.x87Status) writer.varint(after.x87Status);
  if (fields & Field.x87Tag) writer.u8(after.x87Tag);
  if (fields & Field.st) putX87(writer, physicalBefore, physicalAfter);
  if (fields & Field.fsBase) writer.u64(after.fsBase);
  if (fields & Field.gsBase) writer.u64(after.gsBase);
  putPatches(writer, outcome.changes);
}

function putX87(writer: Writer, before: Uint8Array, after: Uint8Array): void {
  let mask = 0;
  for (let i = 0; i < 8; i++) if (differs(after, before, i * 10, 10)) mask |= 1 << i;
  writer.u8(mask);
  for (let i = 0; i < 8; i++) if (mask & (1 << i)) writer.bytes(after.subarray(i * 10, i * 10 + 10));
}

function takeOutcome(reader: Reader, before: CpuImage): Outcome {
  const vector = reader.u8();
  const errorCode = vector === 3 ? 0 : reader.varint();
  const cr2 = vector === 14 ? reader.u64() : 0n;
  const image = cloneImage(before);
  const registers = reader.u32();
  const fields = reader.varint();
  image.rip = fields & Field.farRip ? reader.u64() : before.rip + BigInt(reader.u8());
  for (let i = 0; i < 16; i++) if (registers & (1 << i)) image.gpr[i] = reader.u64();
  for (let i = 0; i < 16; i++) if (registers & (1 << (i + 16))) image.xmm.set(reader.bytes(16), i * 16);
  if (fields & Field.rflags) image.rflags = reader.u32();
  if (fields & Field.mxcsr) image.mxcsr = reader.u32();
  if (fields & Field.x87Control) image.x87Control = reader.varint();
  if (fields & Field.x87Status) image.x87Status = reader.varint();
  if (fields & Field.x87Tag) image.x87Tag = reader.u8();
  const physical = physicalX87(before);
  if (fields & Field.st) {
    const mask = reader.u8();
    for (let i = 0; i < 8; i++) if (mask & (1 << i)) physical.set(reader.bytes(10), i * 10);
  }
  image.st.set(rotate(physical, -topOf(image.x87Status)));
  if (fields & Field.fsBase) image.fsBase = reader.u64();
  if (fields & Field.gsBase) image.gsBase = reader.u64();
  return { vector, errorCode, cr2, image, changes: takePatches(reader) };
}
