import type { ElfSection } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import type { KernelImage } from './kernel-image.ts';

/** A call through the table, in the kernel's code. */
export interface PatchSite {
  /** Where the instruction is linked. */
  readonly address: bigint;
  /** Bytes that may be written over, its padding included. */
  readonly sizeBytes: number;
  /** Index of the slot. */
  readonly slot: number;
  /** The table that lists it; `.static_call.text`: it is a static call's trampoline. */
  readonly listedIn: '.parainstructions' | '.altinstructions' | '.static_call_sites' | '.static_call.text';
  /** What the kernel may put in its place at boot; the last one whose feature the processor has. */
  readonly alternatives: readonly Alternative[];
}

/** A call site in a kernel module. */
export interface ModuleSite {
  readonly gva: bigint;
  readonly sizeBytes: number;
  readonly slot: number;
  readonly listedIn: '.parainstructions' | '.altinstructions';
}

/** A row of .altinstructions. */
export interface Alternative {
  /** X86_FEATURE_* number and flags, as the row has them. */
  readonly feature: number;
  readonly flags: number;
  readonly replacementAddress: bigint;
  readonly replacementBytes: number;
}

export interface SiteList {
  readonly sites: readonly PatchSite[];
  /** Entries of the tables that cannot be sites: their address is no code, or their slot does not exist. */
  readonly unreadable: number;
  /** Of the rows of .altinstructions, in the kernel and in its modules. */
  readonly rowShape: RowShape | undefined;
}
/** How many entries of a table a step takes. */
const ENTRIES_A_STEP = 64;

interface Table {
  readonly image: KernelImage;
  /** Where the table of ops is linked, and how many slots it has. */
  readonly opsAddress: bigint;
  readonly slotCount: number;
}

/**
 * Every place that calls through the table at `opsAddress`. Up to Linux 6.7 .parainstructions lists them; since 6.8 they
 * are alternatives (.altinstructions) of an indirect call through the table.
 */
export function* findSites(image: KernelImage, opsAddress: bigint, slotCount: number): Steps<SiteList> {
  const table: Table = { image, opsAddress, slotCount };
  const sites = new Map<bigint, PatchSite & { alternatives: Alternative[] }>();
  let unreadable = 0;
  let looked = 0;
  for (const entry of parainstructions(image)) {
    if (++looked % ENTRIES_A_STEP === 0) yield;
    const site = paravirtSite(table, entry);
    if (site) sites.set(site.address, { ...site, alternatives: [] });
    else unreadable++;
  }
  const alternatives = image.elf.section('.altinstructions');
  const shaped = alternatives && (yield* shapedRows(image, alternatives));
  for (const row of shaped?.rows ?? []) {
    if (++looked % ENTRIES_A_STEP === 0) yield;
    const known = sites.get(row.address);
    if (known) known.alternatives.push(row.alternative);
    else {
      const slot = calledSlot(table, row.address);
      if (slot === undefined) continue;
      const { address, sizeBytes, alternative } = row;
      sites.set(address, { address, sizeBytes, slot, listedIn: '.altinstructions', alternatives: [alternative] });
    }
  }
  yield;
  const byAddress = [...sites.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
  yield;
  return { sites: byAddress, unreadable, rowShape: shaped?.shape };
}

/** Linux, arch/x86/include/asm/paravirt_types.h, struct paravirt_patch_site: address, type, length; as long as two words. */
interface ParavirtEntry {
  readonly address: bigint;
  readonly slot: number;
  readonly sizeBytes: number;
}

function* parainstructions(image: KernelImage): Generator<ParavirtEntry> {
  const { wordBytes } = image;
  const { address, sizeBytes } = image.elf.section('.parainstructions') ?? { address: 0n, sizeBytes: 0 };
  for (let at = 0; at + 2 * wordBytes <= sizeBytes; at += 2 * wordBytes) {
    const entry = address + BigInt(at);
    const tail = image.bytesAt(entry + BigInt(wordBytes), 2);
    const site = image.wordAt(entry);
    if (site !== undefined && tail?.length === 2) yield { address: site, slot: tail[0], sizeBytes: tail[1] };
  }
}

function paravirtSite(table: Table, { address, slot, sizeBytes }: ParavirtEntry): PatchSite | undefined {
  const { image, slotCount } = table;
  if (slot >= slotCount || sizeBytes === 0 || !image.isCode(address)) return undefined;
  // The instruction speaks for itself; where it is no such call, the entry's type is all there is.
  return {
    ...{ address, sizeBytes, listedIn: '.parainstructions', alternatives: [] },
    slot: calledSlot(table, address) ?? slot,
  };
}

/**
 * Where the table is, by those entries of .parainstructions whose instruction has a fixed operand: each gives the same
 * address, less the slots before its own. `undefined`: there are none, or no address has most of them.
 */
export function* opsAddressFromSites(image: KernelImage): Steps<bigint | undefined> {
  const votes = new Map<bigint, number>();
  let voters = 0;
  let looked = 0;
  for (const { address, slot } of parainstructions(image)) {
    if (++looked % ENTRIES_A_STEP === 0) yield;
    const code = image.isCode(address) ? image.bytesAt(address, CALL_BYTES) : undefined;
    const operand = code && memoryOperand(image, address, code);
    if (operand === undefined) continue;
    const table = image.wrap(operand - BigInt(slot * image.wordBytes));
    votes.set(table, (votes.get(table) ?? 0) + 1);
    voters++;
  }
  return [...votes].find(([, count]) => count * 2 > voters)?.[0];
}

/** One more than the highest slot that .parainstructions names. */
export function slotCountFromSites(image: KernelImage): number {
  let count = 0;
  for (const { slot } of parainstructions(image)) count = Math.max(count, slot + 1);
  return count;
}

/** Longest form of CALL or JMP through memory that is looked for: opcode, ModRM, SIB, displacement. */
const CALL_BYTES = 7;
const OPCODE_GROUP_5 = 0xff;

/** The slot through which the instruction at `address` calls or jumps (FF /2 and FF /4, SDM vol. 2A, "CALL", "JMP"). */
function calledSlot({ image, opsAddress, slotCount }: Table, address: bigint): number | undefined {
  const code = image.bytesAt(address, CALL_BYTES);
  const pointer = code && memoryOperand(image, address, code);
  if (pointer === undefined) return undefined;
  const offset = Number(pointer - opsAddress);
  const slot = offset / image.wordBytes;
  return Number.isInteger(slot) && slot >= 0 && slot < slotCount ? slot : undefined;
}

/** The operand's address where it is fixed: relative to RIP, or absolute (SDM vol. 2A, tables 2-2 and 2-3, 2.2.1.6). */
function memoryOperand(image: KernelImage, address: bigint, code: Uint8Array): bigint | undefined {
  const [opcode, modrm, sib] = code;
  if (opcode !== OPCODE_GROUP_5 || ![2, 4].includes((modrm >> 3) & 7) || modrm >> 6 !== 0) return undefined;
  const absoluteBySib = (modrm & 7) === 4 && sib === 0x25;
  if ((modrm & 7) !== 5 && !absoluteBySib) return undefined;
  const at = absoluteBySib ? 3 : 2;
  if (code.length < at + 4) return undefined;
  const displacement = BigInt(new DataView(code.buffer, code.byteOffset, code.byteLength).getInt32(at, true));
  const relative = image.wordBytes === 8 && !absoluteBySib;
  return image.wrap(displacement + (relative ? address + BigInt(at + 4) : 0n));
}

export interface AlternativeRow {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly alternative: Alternative;
}

/**
 * Shapes that struct alt_instr has had (Linux, arch/x86/include/asm/alternative.h): two 32-bit offsets, each relative to
 * itself, then feature and flags, then the two lengths, then for some time the length of the padding.
 */
export interface RowShape {
  readonly sizeBytes: number;
  /** Bytes of the feature number alone, or with flags in the upper half. */
  readonly featureBytes: 2 | 4;
}
const ROW_SHAPES: readonly RowShape[] = [
  { sizeBytes: 12, featureBytes: 2 },
  { sizeBytes: 13, featureBytes: 2 },
  { sizeBytes: 14, featureBytes: 4 },
];

/** The rows, in the shape in which every one of them makes sense; `undefined`: there is no such shape. */
function* shapedRows(image: KernelImage, section: ElfSection) {
  for (const shape of ROW_SHAPES) {
    if (section.sizeBytes % shape.sizeBytes !== 0) continue;
    const rows = yield* rowsOf(image, section, shape);
    if (rows) return { shape, rows };
  }
  return undefined;
}

function* rowsOf(image: KernelImage, section: ElfSection, shape: RowShape): Steps<AlternativeRow[] | undefined> {
  const bytes = image.bytesAt(section.address, section.sizeBytes);
  if (!bytes) return undefined;
  const rows: AlternativeRow[] = [];
  for (const row of alternativeRows(bytes, section.address, shape, (address) => image.wrap(address))) {
    if (rows.length % ENTRIES_A_STEP === 0) yield;
    const { replacementAddress, replacementBytes } = row.alternative;
    const replaces = replacementBytes === 0 || image.isCode(replacementAddress);
    if (row.sizeBytes === 0 || !image.isCode(row.address) || !replaces) return undefined;
    rows.push(row);
  }
  return rows;
}

/** Rows of struct alt_instr that lie at `first`. */
export function* alternativeRows(
  bytes: Uint8Array,
  first: bigint,
  shape: RowShape,
  wrap: (address: bigint) => bigint,
): Generator<AlternativeRow> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + shape.sizeBytes <= bytes.length; at += shape.sizeBytes) {
    const here = first + BigInt(at);
    const address = wrap(here + BigInt(view.getInt32(at, true)));
    const replacementAddress = wrap(here + 4n + BigInt(view.getInt32(at + 4, true)));
    const lengths = at + 8 + shape.featureBytes;
    const [sizeBytes, replacementBytes] = [bytes[lengths], bytes[lengths + 1]];
    const feature = view.getUint16(at + 8, true);
    const flags = shape.featureBytes === 4 ? view.getUint16(at + 10, true) : 0;
    yield { address, sizeBytes, alternative: { feature, flags, replacementAddress, replacementBytes } };
  }
}
