import { type Branch, siteTemplate, tailOfDirectBranch } from './code.ts';
import type { PatchSite } from './sites.ts';

/** A call site in a running kernel. */
export interface LiveSite extends PatchSite {
  /** Where it is now. */
  readonly gva: bigint;
  /** What the kernel has put there by itself. */
  readonly original: Uint8Array;
  /** What is there now. */
  readonly bytes: Uint8Array;
  /** Where it leads, by {@link numberOf}; `undefined`: it is as the kernel had it. */
  readonly to?: number | undefined;
  /** The kernel module that it is in. */
  readonly module?: string | undefined;
}

/** An address as a signed number, in which thousands of displacements are quickly made: exact where kernels are. */
export const numberOf = (gva: bigint) => Number(BigInt.asIntN(64, gva));

/** Where the first and the last byte of a site lie in memory. */
interface SiteMemory {
  readonly gpa: number;
  readonly lastGpa: number;
}

/** Bytes of a site that lie in one page. */
export interface SitePart {
  readonly gpa: number;
  /** Within the site. */
  readonly offset: number;
  readonly sizeBytes: number;
}

const PAGE = 4096;

/** A site, and all that is known of what is written to it. Where it leads is in an array that it shares with others: {@link SiteTable}. */
export class SitePlace implements LiveSite {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly slot: number;
  readonly listedIn: PatchSite['listedIn'];
  readonly alternatives: PatchSite['alternatives'];
  readonly gva: bigint;
  readonly gvaHigh: number;
  readonly original: Uint8Array;
  readonly module: string | undefined;
  /** Whether it holds instructions of the kernel's own, other than a branch and what is kept behind it. */
  readonly hasInline: boolean;
  /** The branch that stands there instead, but for its displacement, where that is, and where it counts from. */
  readonly branch: Uint8Array;
  readonly displacementAt: number;
  readonly end: number;
  /** One, or two if a page ends within it. */
  readonly parts: readonly SitePart[];
  #leads: Float64Array = new Float64Array([AS_BEFORE]);
  #number = 0;

  constructor(site: Omit<LiveSite, 'bytes' | 'to'>, branch: Branch, { gpa, lastGpa }: SiteMemory) {
    this.address = site.address;
    this.sizeBytes = site.sizeBytes;
    this.slot = site.slot;
    this.listedIn = site.listedIn;
    this.alternatives = site.alternatives;
    this.gva = site.gva;
    this.gvaHigh = Number((site.gva >> 32n) & 0xffffffffn);
    this.original = site.original;
    this.module = site.module;
    // What stays behind a direct branch: the same boundaries of instructions as before, so that nobody can be within.
    const tail = tailOfDirectBranch(site.original);
    this.hasInline = !tail;
    const template = siteTemplate(branch, site.sizeBytes, tail);
    this.branch = template.bytes;
    this.displacementAt = template.displacementAt;
    this.end = numberOf(site.gva) + template.endAt;
    this.parts = pagesOf(site.sizeBytes, gpa, lastGpa);
  }

  get isAsBefore(): boolean {
    return Number.isNaN(this.#leads[this.#number]);
  }
  get to(): number | undefined {
    return this.isAsBefore ? undefined : this.#leads[this.#number];
  }
  get bytes(): Uint8Array {
    const { to } = this;
    if (to === undefined) return this.original;
    const bytes = this.branch.slice();
    putDisplacement(bytes, this.displacementAt, to - this.end);
    return bytes;
  }

  /** Where it leads is there from now on, as it was. */
  keepIn(leads: Float64Array, number: number): void {
    leads[number] = this.#leads[this.#number];
    this.#leads = leads;
    this.#number = number;
  }
}

/** Where a site leads that is as the kernel had it. */
export const AS_BEFORE = Number.NaN;

/** One that is too large for 32 bits wraps around. */
export function putDisplacement(bytes: Uint8Array, at: number, displacement: number): void {
  for (let i = 0; i < 4; i++) bytes[at + i] = displacement >> (8 * i);
}

/** What ends at `lastGpa`, in one part or, if a page ends within it, in two. */
function pagesOf(sizeBytes: number, gpa: number, lastGpa: number): SitePart[] {
  const firstBytes = Math.min(sizeBytes, PAGE - (gpa % PAGE));
  const restBytes = sizeBytes - firstBytes;
  const first = { gpa, offset: 0, sizeBytes: firstBytes };
  return restBytes === 0
    ? [first]
    : [first, { gpa: lastGpa - (restBytes - 1), offset: firstBytes, sizeBytes: restBytes }];
}
