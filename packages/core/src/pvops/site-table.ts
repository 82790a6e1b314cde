import { allAtOnce, type Steps } from '../loader/image/steps.ts';
import { MemoryWrites } from '../memory/memory-writes.ts';
import { AS_BEFORE, putDisplacement, type SitePart, type SitePlace } from './live-site.ts';

/** Where sites are to lead, by index of their slots and by `numberOf`; NaN: as the kernel had them. Without `inModules` those stay as they are. */
export interface SlotTargets {
  readonly inKernel: Float64Array;
  readonly inModules: Float64Array | undefined;
}
/** Where sites are to lead: by their slots, which is what takes less time, or site by site, `undefined` being as the kernel had it. */
export type SiteTargets = SlotTargets | ((site: SitePlace) => number | undefined);

const PLACES_A_STEP = 128;

interface PartOfSite extends SitePart {
  readonly site: number;
}
const partsOf = (parts: readonly PartOfSite[]) => ({
  sites: Int32Array.from(parts, ({ site }) => site),
  gpas: Float64Array.from(parts, ({ gpa }) => gpa),
  offsets: Int32Array.from(parts, ({ offset }) => offset),
  sizesBytes: Int32Array.from(parts, ({ sizeBytes }) => sizeBytes),
});

/**
 * Where the call sites of a kernel lead, and what is written to them for it, in flat arrays by number of the site: the guest waits while
 * thousands of them change.
 */
export class SiteTable {
  readonly places: readonly SitePlace[];
  readonly #leads: Float64Array;
  readonly #wanted: Float64Array;
  readonly #slots: Int32Array;
  readonly #inModules: Uint8Array;
  /** Where displacements count from. */
  readonly #ends: Float64Array;
  /** What the kernel had in each site and the branch that stands there instead: where these and the displacement are in {@link #writes}. */
  readonly #originals: Int32Array;
  readonly #branches: Int32Array;
  readonly #displacements: Int32Array;
  /** Parts of sites, in the order of their addresses in memory. */
  #parts = partsOf([]);
  readonly #changed: Uint8Array;
  #writes = new MemoryWrites(new Uint8Array(0), 0);

  private constructor(places: readonly SitePlace[]) {
    this.places = places;
    const { length } = places;
    this.#leads = new Float64Array(length);
    this.#wanted = new Float64Array(length);
    this.#changed = new Uint8Array(length);
    this.#slots = new Int32Array(length);
    this.#inModules = new Uint8Array(length);
    this.#ends = new Float64Array(length);
    this.#originals = new Int32Array(length);
    this.#branches = new Int32Array(length);
    this.#displacements = new Int32Array(length);
  }

  static of(places: readonly SitePlace[]): SiteTable {
    return allAtOnce(SiteTable.inSteps(places));
  }
  static *inSteps(places: readonly SitePlace[]): Steps<SiteTable> {
    const table = new SiteTable(places);
    yield* table.#fill();
    return table;
  }
  *#fill(): Steps<void> {
    const { places } = this;
    let allBytes = 0;
    const parts: PartOfSite[] = [];
    for (const [i, place] of places.entries()) {
      if ((i + 1) % PLACES_A_STEP === 0) yield;
      place.keepIn(this.#leads, i);
      this.#slots[i] = place.slot;
      this.#inModules[i] = place.module === undefined ? 0 : 1;
      this.#ends[i] = place.end;
      this.#originals[i] = allBytes;
      this.#branches[i] = allBytes + place.sizeBytes;
      this.#displacements[i] = this.#branches[i] + place.displacementAt;
      allBytes += 2 * place.sizeBytes;
      for (const part of place.parts) parts.push({ ...part, site: i });
    }
    yield;
    parts.sort((a, b) => a.gpa - b.gpa);
    yield;
    this.#parts = partsOf(parts);
    this.#writes = new MemoryWrites(new Uint8Array(allBytes), parts.length);
    for (const [i, { original, isAsBefore, branch, bytes }] of places.entries()) {
      if ((i + 1) % PLACES_A_STEP === 0) yield;
      this.#writes.bytes.set(original, this.#originals[i]);
      this.#writes.bytes.set(isAsBefore ? branch : bytes, this.#branches[i]);
    }
  }

  /** How many parts there are, each in a page. */
  get partCount(): number {
    return this.#parts.sites.length;
  }

  /** The first site from which a branch would not reach where it is wanted to; 32-bit code reaches every address, since EIP wraps around. */
  outOfReach(targets: SiteTargets): SitePlace | undefined {
    this.#want(targets);
    for (let i = 0; i < this.#wanted.length; i++) {
      const displacement = this.#wanted[i] - this.#ends[i];
      if (displacement !== (displacement | 0) && !Number.isNaN(displacement)) return this.places[i];
    }
    return undefined;
  }

  /**
   * Sites lead there from now on. Answers what is to be written for it, until the next call, and how many sites have changed.
   */
  lead(targets: SiteTargets): { readonly writes: MemoryWrites; readonly changed: number } {
    this.#want(targets);
    const changed = this.#leadAsWanted();
    return { writes: this.#collect(0, this.partCount), changed };
  }
  /** Sites that would change, by number: 1. They have done so, and back again, so the host's code for it is warm. */
  wouldChange(targets: SiteTargets): Uint8Array {
    const before = this.#leads.slice();
    this.lead(targets);
    const changed = this.#changed.slice();
    this.#wanted.set(before);
    this.#leadAsWanted();
    return changed;
  }
  #leadAsWanted(): number {
    let changed = 0;
    for (let i = 0; i < this.#wanted.length; i++) {
      const to = this.#wanted[i];
      const before = this.#leads[i];
      const stays = to === before || (Number.isNaN(to) && Number.isNaN(before));
      this.#changed[i] = stays ? 0 : 1;
      if (stays) continue;
      changed++;
      this.#leads[i] = to;
      if (!Number.isNaN(to)) putDisplacement(this.#writes.bytes, this.#displacements[i], to - this.#ends[i]);
    }
    return changed;
  }

  #want(targets: SiteTargets): void {
    const wanted = this.#wanted;
    if (typeof targets === 'function') {
      for (const [i, place] of this.places.entries()) wanted[i] = targets(place) ?? AS_BEFORE;
      return;
    }
    const { inKernel, inModules } = targets;
    for (let i = 0; i < wanted.length; i++) {
      if (this.#inModules[i] === 0) wanted[i] = inKernel[this.#slots[i]];
      else wanted[i] = inModules ? inModules[this.#slots[i]] : this.#leads[i];
    }
  }

  /** What writes some parts of sites as they are: of those that `which` has 1 for, and that are not `left` alone. */
  asTheyAre(firstPart: number, endPart: number, which: Uint8Array, left: (place: SitePlace) => boolean): MemoryWrites {
    const { sites } = this.#parts;
    for (let part = firstPart; part < endPart; part++) {
      const site = sites[part];
      this.#changed[site] = which[site] === 1 && !left(this.places[site]) ? 1 : 0;
    }
    return this.#collect(firstPart, endPart);
  }

  /** Of these parts, those of sites that have changed. */
  #collect(firstPart: number, endPart: number): MemoryWrites {
    const { sites, gpas, offsets, sizesBytes } = this.#parts;
    const writes = this.#writes;
    writes.clear();
    for (let part = firstPart; part < endPart; part++) {
      const site = sites[part];
      if (this.#changed[site] === 0) continue;
      const start = Number.isNaN(this.#leads[site]) ? this.#originals[site] : this.#branches[site];
      writes.add(gpas[part], start + offsets[part], sizesBytes[part]);
    }
    return writes;
  }
}
