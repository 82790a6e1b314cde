import { type CpuMode, MODES, modeFacts } from '../../isa/modes.ts';
import { FULLY_GROWN, type Growth, type Numbers, type RegionPart } from './maker.ts';

/** What a region holds of a page, wherever that lies. */
export interface KeptPart extends Pick<RegionPart<unknown>, 'addresses'> {
  /** How far the page lies from the one that the region starts in, in bytes. */
  readonly distance: number;
  /** Blocks of bytes: first, end, first, end… The first block of the first part starts where the region does. */
  readonly blocks: Numbers;
  /** What stands in these blocks, one after the other. */
  readonly bytes: Uint8Array;
}

/** A region that can be used wherever the same code is found. */
export interface KeptRegion {
  readonly mode: CpuMode;
  /** Linear address of the page that it started in. */
  readonly pageBase: bigint;
  readonly growth: Growth;
  readonly parts: readonly KeptPart[];
  /** Distances of the pages whose entry tables it looks for. */
  readonly tables: Numbers;
}

/** What is known of a region without unpacking it. */
export interface RegionStart {
  readonly mode: CpuMode;
  readonly growth: Growth;
  /** Offset in its page. */
  readonly offset: number;
  /** What stands there: its first block up to the first address that may have moved, a few bytes at most. */
  readonly bytes: Uint8Array;
  /** Equal for regions that stand for each other: of the same bytes in the same places, but for how far they have moved. */
  readonly identity: number;
}

/** Words of a region before those of its lists. */
const Field = {
  mode: 0,
  growth: 1,
  identityHigh: 2,
  identityLow: 3,
  pageBaseLow: 4,
  pageBaseHigh: 5,
  tables: 6,
  parts: 7,
} as const;
const FIELDS = 8;
/** Words of a part before its blocks and addresses. */
const PartField = {
  distance: 0,
  bytesStart: 1,
  bytesEnd: 2,
  blocks: 3,
  addresses: 4,
} as const;
const PART_FIELDS = 5;
/** Words before the places of the regions: how many there are, and the words of everything, behind which bytes follow. */
const HEAD_WORDS = 2;
const START_BYTES = 8;

/**
 * The regions of a module, by the number of their function, as they are kept in a file: a few words and bytes, of which an object is
 * made when a region is wanted. Of thousands that are kept a run wants some.
 */
export class PackedRegions {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #unpacked: (KeptRegion | undefined)[] = [];
  /** In the host's byte order. */
  readonly packed: Uint8Array;

  private constructor(packed: Uint8Array) {
    this.packed = packed;
    const words = new Int32Array(packed.buffer, 0, packed.length >>> 2);
    this.#words = words.subarray(0, words[1]);
    this.#bytes = packed.subarray(words[1] * 4);
  }

  /** `undefined` among them: a number without a region. One whose pages are more than 2 GiB apart is left out too. */
  static of(regions: readonly (KeptRegion | undefined)[]): PackedRegions {
    const places: number[] = [];
    const words: number[] = [];
    const bytes: number[] = [];
    for (const region of regions) {
      const fits = region?.parts.every(({ distance }) => distance === (distance | 0)) ?? false;
      places.push(fits ? HEAD_WORDS + regions.length + words.length : 0);
      if (region && fits) packRegion(region, words, bytes);
    }
    const wordCount = HEAD_WORDS + places.length + words.length;
    const packed = new Uint8Array(Math.ceil((wordCount * 4 + bytes.length) / 4) * 4);
    new Int32Array(packed.buffer, 0, wordCount).set([regions.length, wordCount, ...places, ...words]);
    packed.set(bytes, wordCount * 4);
    return new PackedRegions(packed);
  }

  /** What {@link packed} was. */
  static from(packed: Uint8Array): PackedRegions {
    return new PackedRegions(new Uint8Array(packed));
  }

  /** Numbers of functions, with a region or without. */
  get size(): number {
    return this.#words[0];
  }

  start(number: number): RegionStart | undefined {
    const words = this.#words;
    const at = words[HEAD_WORDS + number];
    if (!at) return undefined;
    const part = at + FIELDS + words[at + Field.tables];
    const blocks = part + PART_FIELDS;
    const [offset, end] = [words[blocks], words[blocks + 1]];
    // Of what may differ, nothing is known.
    const firstAddress =
      words[part + PartField.addresses] > 0 ? words[blocks + words[part + PartField.blocks]] : START_BYTES;
    const bytesStart = words[part + PartField.bytesStart];
    return {
      mode: MODES[words[at + Field.mode]],
      growth: words[at + Field.growth] as Growth,
      offset,
      bytes: this.#bytes.subarray(bytesStart, bytesStart + Math.min(end - offset, firstAddress, START_BYTES)),
      identity: words[at + Field.identityHigh] * 2 ** 32 + (words[at + Field.identityLow] >>> 0),
    };
  }

  get(number: number): KeptRegion | undefined {
    return (this.#unpacked[number] ??= this.#unpack(this.#words[HEAD_WORDS + number]));
  }

  #unpack(at: number): KeptRegion | undefined {
    if (!at) return undefined;
    const words = this.#words;
    let next = at + FIELDS;
    const take = (count: number) => words.subarray(next, (next += count));
    const tables = take(words[at + Field.tables]);
    const parts = Array.from({ length: words[at + Field.parts] }, (): KeptPart => {
      const [distance, start, end, blocks, addresses] = take(PART_FIELDS);
      return { distance, blocks: take(blocks), addresses: take(addresses), bytes: this.#bytes.subarray(start, end) };
    });
    return {
      mode: MODES[words[at + Field.mode]],
      pageBase: (BigInt(words[at + Field.pageBaseHigh]) << 32n) | BigInt(words[at + Field.pageBaseLow] >>> 0),
      growth: words[at + Field.growth] as Growth,
      parts,
      tables,
    };
  }
}

function packRegion(region: KeptRegion, words: number[], bytes: number[]): void {
  const { mode, pageBase, growth, parts, tables } = region;
  const [identityHigh, identityLow] = identityOf(region);
  const [low, high] = [Number(BigInt.asIntN(32, pageBase)), Number(BigInt.asIntN(32, pageBase >> 32n))];
  words.push(modeFacts(mode).number, growth, identityHigh, identityLow, low, high, tables.length, parts.length);
  words.push(...tables);
  for (const { distance, blocks, addresses, bytes: own } of parts) {
    words.push(
      distance,
      bytes.length,
      bytes.length + own.length,
      blocks.length,
      addresses.length,
      ...blocks,
      ...addresses,
    );
    for (const byte of own) bytes.push(byte);
  }
}

/** 21 and 32 bits, which a number holds together. */
function identityOf({ mode, pageBase, growth, parts }: KeptRegion): readonly [number, number] {
  let [high, low] = [0, 0];
  const add = (word: number) => {
    high = Math.imul((high ^ word) + 0x9e37, 0x9e3779b1);
    high ^= high >>> 15;
    low = Math.imul((low ^ word) + 0x85eb, 0x85ebca6b);
    low ^= low >>> 13;
  };
  add(modeFacts(mode).number * (FULLY_GROWN + 1) + growth);
  for (const { distance, blocks, addresses, bytes } of parts) {
    for (const list of [[distance], blocks, addresses]) {
      add(list.length);
      for (const word of list) add(word);
    }
    const fixed = Uint8Array.from(bytes);
    for (let i = 0; i < addresses.length; i += 3) {
      const [at, sizeBytes, direction] = addresses.slice(i, i + 3);
      // What it would be if the code lay at 0.
      const value = BigInt.asUintN(64, addressAt(bytes, at, sizeBytes) - pageBase * BigInt(direction));
      add(Number(value & 0xffff_ffffn));
      if (sizeBytes === 8) add(Number(value >> 32n));
      fixed.fill(0, at, at + sizeBytes);
    }
    for (const byte of fixed) add(byte);
  }
  return [high & 0x1f_ffff, low];
}

/** An address or a distance among bytes, 4 or 8 of them. */
export function addressAt(bytes: Uint8Array, at: number, sizeBytes: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, sizeBytes);
  return sizeBytes === 8 ? view.getBigInt64(0, true) : BigInt(view.getInt32(0, true));
}
