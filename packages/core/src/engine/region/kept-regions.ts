import type { CpuMode } from '../../isa/modes.ts';
import { type MemoryLayout, PAGE_SIZE_BYTES } from '../../memory/layout.ts';
import type { PlacedPage, RegionPart } from './maker.ts';

/** What a region holds of a page, wherever that lies. */
export interface KeptPart {
  /** How far the page lies from the one that the region starts in, in bytes. */
  readonly distance: number;
  /** Blocks of bytes: first, end, first, end… The first block of the first part starts where the region does. */
  readonly blocks: readonly number[];
  /** What stands in these blocks, one after the other. */
  readonly bytes: Uint8Array;
}

/** A region that can be used wherever the same code is found. */
export interface KeptRegion {
  readonly mode: CpuMode;
  /** It holds what it calls and what it goes to in other pages. */
  readonly isGrown: boolean;
  readonly parts: readonly KeptPart[];
  /** Distances of the pages whose entry tables it looks for. */
  readonly tables: readonly number[];
}

/** Regions that have been compiled together. */
export interface KeptModule {
  /** Which engines can run it: {@link madeFor}. */
  readonly madeFor: string;
  /** By the number of their function; undefined: there is none of use. */
  readonly regions: readonly (KeptRegion | undefined)[];
  /** WebAssembly. */
  readonly bytes: Uint8Array;
}

/** A kept region, and where it is kept. */
export interface KeptPlace {
  readonly module: KeptModule;
  /** The number of its function. */
  readonly number: number;
  readonly region: KeptRegion;
}

/** Engines that lay out their memory in the same way can run the same regions. */
export const madeFor = (layout: MemoryLayout, base: number): string => `${layout.ramSizeBytes},${base}`;

interface Memory {
  readonly bytes: Uint8Array;
  readonly layout: MemoryLayout;
}

/** Regions of some engines, by mode and by where in their page they start; those that hold what they call come first. */
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
function hashOf(bytes: Uint8Array, at: number, offset: number): number {
  const word = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
  return Math.imul(Math.imul(word, 0x9e3779b1) + offset, 0x85ebca6b) >>> (32 - FILTER_BITS);
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
    for (const [number, region] of module.regions.entries()) {
      if (!region) continue;
      const { mode, parts, isGrown } = region;
      const starts = (this.#of(module.madeFor)[mode] ??= []);
      const place = { module, number, region };
      const others = (starts[parts[0].blocks[0]] ?? []).filter((other) => !isSame(other.region, region));
      const [first, end] = parts[0].blocks;
      starts[first] = isGrown ? [place, ...others] : [...others, place];
      this.filter.add(parts[0].bytes, 0, end - first, first);
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

/** Where the parts of a region lie, if all of them are there: `pageAt` finds the page at a distance from the first one. */
export function findParts<Page extends PlacedPage>(
  memory: Memory,
  region: KeptRegion,
  pageAt: (distance: number) => Page | undefined,
): RegionPart<Page>[] | undefined {
  const found: RegionPart<Page>[] = [];
  for (const part of region.parts) {
    const page = pageAt(part.distance);
    if (!page || page.mode !== region.mode || !holdsPart(memory, page, part)) return undefined;
    found.push({ page, distance: part.distance, blocks: part.blocks });
  }
  return found;
}

/** Copy what makes a region. */
export function keep(
  memory: Memory,
  parts: readonly RegionPart<PlacedPage>[],
  more: Pick<KeptRegion, 'isGrown' | 'tables'>,
): KeptRegion {
  const { isGrown, tables } = more;
  const kept = parts.map(({ page, distance, blocks }) => {
    const host = hostOf(memory.layout, page);
    const bytes: number[] = [];
    for (let i = 0; i < blocks.length; i += 2)
      bytes.push(...memory.bytes.subarray(host + blocks[i], host + blocks[i + 1]));
    return { distance, blocks, bytes: Uint8Array.from(bytes) };
  });
  return { isGrown, tables, mode: parts[0].page.mode, parts: kept };
}

/** Host address of a page. */
export const hostOf = (layout: MemoryLayout, { physicalPage }: PlacedPage): number =>
  layout.ram + physicalPage * PAGE_SIZE_BYTES;

/** A page has the bytes of a part in their places. */
export function holdsPart({ bytes, layout }: Memory, page: PlacedPage, part: KeptPart): boolean {
  const { blocks, bytes: expected } = part;
  const host = hostOf(layout, page);
  let at = 0;
  for (let i = 0; i < blocks.length; i += 2)
    for (let byte = host + blocks[i]; byte < host + blocks[i + 1]; byte++)
      if (bytes[byte] !== expected[at++]) return false;
  return true;
}

function isSame(a: KeptRegion, b: KeptRegion): boolean {
  if (a.isGrown !== b.isGrown || a.parts.length !== b.parts.length) return false;
  return a.parts.every((part, i) => {
    const other = b.parts[i];
    if (part.distance !== other.distance || part.bytes.length !== other.bytes.length) return false;
    return part.bytes.every((byte, k) => byte === other.bytes[k]) && part.blocks.join() === other.blocks.join();
  });
}
