import type { CpuMode } from '../../isa/modes.ts';
import type { MemoryLayout } from '../../memory/layout.ts';
import type { EngineMemory } from '../memory.ts';
import { type Growth, hostOf, type PlacedPage, type RegionPart } from './maker.ts';
import { addressAt, type KeptPart, type KeptRegion, type PackedRegions, type RegionStart } from './packed-regions.ts';

/** Regions that have been compiled together. */
export interface KeptModule {
  /** Which engines can run it: {@link madeFor}. */
  readonly madeFor: string;
  readonly regions: PackedRegions;
  /** WebAssembly. */
  readonly bytes: Uint8Array;
}

/** A kept region, and where it is kept. */
export class KeptPlace {
  readonly module: KeptModule;
  /** Of its function. */
  readonly number: number;
  readonly growth: Growth;
  /** As in {@link RegionStart}. */
  readonly identity: number;
  /** What of the {@link wordAt} its start is known. */
  readonly #word: number;
  readonly #known: number;

  constructor(module: KeptModule, number: number, { growth, identity, bytes }: RegionStart) {
    this.module = module;
    this.number = number;
    this.growth = growth;
    this.identity = identity;
    this.#word = wordAt(bytes, 0);
    this.#known = bytes.length >= WORD_BYTES ? -1 : (1 << (bytes.length * 8)) - 1;
  }
  /** False: it does not start where this word is. */
  mayBeAt(word: number): boolean {
    return ((word ^ this.#word) & this.#known) === 0;
  }
  get region(): KeptRegion {
    return this.module.regions.get(this.number) as KeptRegion;
  }
}

/** Engines that lay out their memory in the same way can run the same regions. */
export const madeFor = (layout: MemoryLayout, base: number): string => `${layout.ramSizeBytes},${base}`;

type Memory = Pick<EngineMemory, 'bytes' | 'view' | 'layout'>;

/** Regions of some engines, by mode and by where in their page they start; those that have grown most come first. */
export type RegionStarts = { readonly [mode in CpuMode]?: readonly (readonly KeptPlace[] | undefined)[] };

/** Where regions of some engines may start, as far as a few bytes tell: a look at one bit, instead of one at each of them. */
export class StartFilter {
  readonly #bits = new Int32Array(2 ** FILTER_BITS / 32);

  /** Bytes from `at` on, as many as a region's first block has; it starts at this offset of a page. */
  add(bytes: Uint8Array, at: number, sizeBytes: number, offset: number): void {
    // Of shorter blocks too little is known.
    if (sizeBytes >= WORD_BYTES) this.#set(hashOf(bytes, at, offset));
    else this.#set(shortHashOf(bytes[at], offset));
  }
  #set(hash: number): void {
    this.#bits[hash >>> 5] |= 1 << (hash & 31);
  }

  /** False: none starts with the bytes from `at` on. */
  mayStart(bytes: Uint8Array, at: number, offset: number): boolean {
    return this.#has(hashOf(bytes, at, offset)) || this.#has(shortHashOf(bytes[at], offset));
  }
  #has(hash: number): boolean {
    return (this.#bits[hash >>> 5] & (1 << (hash & 31))) !== 0;
  }
}
const FILTER_BITS = 18;
const WORD_BYTES = 4;
/** Four bytes; beyond the last one there are zeros. */
export const wordAt = (bytes: Uint8Array, at: number): number =>
  bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
function hashOf(bytes: Uint8Array, at: number, offset: number): number {
  return Math.imul(Math.imul(wordAt(bytes, at), 0x9e3779b1) + offset, 0x85ebca6b) >>> (32 - FILTER_BITS);
}
const shortHashOf = (first: number, offset: number): number =>
  Math.imul((first << 12) + offset + 1, 0xc2b2ae35) >>> (32 - FILTER_BITS);

/** Regions to be used again when the same code is met. */
export class KeptRegions {
  /** By what they are made for. */
  readonly #starts = new Map<string, { [mode in CpuMode]?: (KeptPlace[] | undefined)[] }>();
  /** Of all of them. */
  readonly filter = new StartFilter();

  add(module: KeptModule): void {
    const { regions } = module;
    for (let number = 0; number < regions.size; number++) {
      const start = regions.start(number);
      if (!start) continue;
      const { mode, offset, bytes, growth, identity } = start;
      const starts = (this.#of(module.madeFor)[mode] ??= []);
      const place = new KeptPlace(module, number, start);
      const others = starts[offset]?.filter((other) => other.identity !== identity) ?? [];
      // Among those that have grown alike the last one knew most of where control goes.
      const before = growth === 0 ? -1 : others.findIndex((other) => other.growth <= growth);
      starts[offset] = others.toSpliced(before < 0 ? others.length : before, 0, place);
      this.filter.add(bytes, 0, bytes.length, offset);
    }
  }

  /** Those for an engine, also those that will have been added. They may start there: compare what {@link holdsPart}. */
  of(madeFor: string): RegionStarts {
    return this.#of(madeFor);
  }
  #of(madeFor: string) {
    let starts = this.#starts.get(madeFor);
    if (!starts) this.#starts.set(madeFor, (starts = {}));
    return starts;
  }
}

/** How far code has moved up that has been kept, in bytes; undefined: so far that its addresses cannot be the same. */
export function slideOf({ mode, pageBase }: KeptRegion, found: bigint): number | undefined {
  const slide = BigInt.asIntN(mode === 'long64' ? 64 : 32, found - pageBase);
  return slide === BigInt.asIntN(32, slide) ? Number(slide) : undefined;
}

/**
 * Where the parts of a region lie, if all of them are there: `pageAt` finds the page at a distance from the first one, and addresses
 * among its bytes have moved by `slide`.
 */
export function findParts<Page extends PlacedPage>(
  memory: Memory,
  region: KeptRegion,
  slide: number | undefined,
  pageAt: (distance: number) => Page | undefined,
): RegionPart<Page>[] | undefined {
  const found: RegionPart<Page>[] = [];
  for (const part of region.parts) {
    const page = pageAt(part.distance);
    if (!page || page.mode !== region.mode || !holdsPart(memory, page, part, slide)) return undefined;
    const { distance, blocks, addresses } = part;
    found.push({ page, distance, blocks, addresses });
  }
  return found;
}

/** Copy what makes a region. */
export function keep(
  memory: Memory,
  parts: readonly RegionPart<PlacedPage>[],
  more: Pick<KeptRegion, 'growth' | 'tables' | 'pageBase'>,
): KeptRegion {
  const { growth, tables, pageBase } = more;
  const kept = parts.map(({ page, distance, blocks, addresses }) => {
    const host = hostOf(memory.layout, page);
    const bytes: number[] = [];
    for (let i = 0; i < blocks.length; i += 2)
      bytes.push(...memory.bytes.subarray(host + blocks[i], host + blocks[i + 1]));
    return { distance, blocks, addresses, bytes: Uint8Array.from(bytes) };
  });
  return { growth, tables, pageBase, mode: parts[0].page.mode, parts: kept };
}

/**
 * A page has the bytes of a part in their places; addresses among them have moved by `slide` (undefined: none can have), or by
 * whatever it may be (`any`).
 */
export function holdsPart(
  { bytes, layout }: Memory,
  page: PlacedPage,
  part: KeptPart,
  slide: number | undefined | 'any',
): boolean {
  const base = hostOf(layout, page);
  const { blocks, bytes: expected, addresses } = part;
  if (slide === undefined && addresses.length > 0) return false;
  let at = 0;
  let address = 0;
  for (let i = 0; i < blocks.length; i += 2) {
    const end = base + blocks[i + 1];
    for (let byte = base + blocks[i]; byte < end; ) {
      if (at === addresses[address]) {
        const [sizeBytes, direction] = [addresses[address + 1], addresses[address + 2]];
        if (typeof slide === 'number') {
          const wanted = moved(addressAt(expected, at, sizeBytes), slide * direction);
          if (addressAt(bytes, byte, sizeBytes) !== wanted) return false;
        }
        at += sizeBytes;
        byte += sizeBytes;
        address += 3;
      } else if (bytes[byte++] !== expected[at++]) return false;
    }
  }
  return true;
}

/** An address in the upper half, or a distance, after it has moved; undefined if it is no such thing any more. */
function moved(value: bigint, by: number): bigint | undefined {
  const sum = value + BigInt(by);
  return sum < 0n === value < 0n ? sum : undefined;
}
