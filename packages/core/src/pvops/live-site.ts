import type { Machine } from '../machine/index.ts';
import { type Branch, siteTemplate, tailOfDirectBranch } from './code.ts';
import type { PatchSite } from './sites.ts';

export type MemoryWrite = Parameters<Machine['memory']['writeAll']>[0][number];

const PAGE = 4096;

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

/**
 * A site, and all that is written to it, made once: the guest waits while it is used. Fields that change have one type for good, so
 * that the host's code for thousands of sites is made once, too.
 */
export class SitePlace implements LiveSite {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly slot: number;
  readonly listedIn: PatchSite['listedIn'];
  readonly alternatives: PatchSite['alternatives'];
  readonly gva: bigint;
  readonly gvaHigh: number;
  readonly gpa: number;
  readonly original: Uint8Array;
  readonly module: string | undefined;
  /** Whether it holds instructions of the kernel's own, other than a branch and what is kept behind it. */
  readonly hasInline: boolean;
  readonly #branch: Uint8Array;
  readonly #displacementAt: number;
  /** Where the displacement counts from. */
  readonly #end: number;
  readonly #patching: readonly MemoryWrite[];
  readonly #restoring: readonly MemoryWrite[];
  /** NaN: as the kernel had it. */
  #to = Number.NaN;

  constructor(site: Omit<LiveSite, 'bytes' | 'to'>, branch: Branch, { gpa, lastGpa }: SiteMemory) {
    this.address = site.address;
    this.sizeBytes = site.sizeBytes;
    this.slot = site.slot;
    this.listedIn = site.listedIn;
    this.alternatives = site.alternatives;
    this.gva = site.gva;
    this.gvaHigh = Number((site.gva >> 32n) & 0xffffffffn);
    this.gpa = gpa;
    this.original = site.original;
    this.module = site.module;
    // What stays behind a direct branch: the same boundaries of instructions as before, so that nobody can be within.
    const tail = tailOfDirectBranch(site.original);
    this.hasInline = !tail;
    const template = siteTemplate(branch, site.sizeBytes, tail);
    this.#branch = template.bytes;
    this.#displacementAt = template.displacementAt;
    this.#end = numberOf(site.gva) + template.endAt;
    this.#patching = pageWrites(template.bytes, gpa, lastGpa);
    this.#restoring = pageWrites(site.original, gpa, lastGpa);
  }

  get isAsBefore(): boolean {
    return Number.isNaN(this.#to);
  }
  get to(): number | undefined {
    return this.isAsBefore ? undefined : this.#to;
  }
  get bytes(): Uint8Array {
    return this.isAsBefore ? this.original : this.#branch;
  }
  /** What puts its bytes into guest memory. */
  get writes(): readonly MemoryWrite[] {
    return this.isAsBefore ? this.#restoring : this.#patching;
  }

  /** `to`: NaN is as the kernel had it. */
  leadsTo(to: number): boolean {
    return to === this.#to || (Number.isNaN(to) && this.isAsBefore);
  }
  reaches(to: number): boolean {
    const displacement = to - this.#end;
    return displacement === (displacement | 0) || Number.isNaN(to);
  }
  /** From now on. A displacement that is too large for 32 bits wraps around. */
  leadTo(to: number): void {
    this.#to = to;
    if (Number.isNaN(to)) return;
    const displacement = to - this.#end;
    for (let i = 0; i < 4; i++) this.#branch[this.#displacementAt + i] = displacement >> (8 * i);
  }
}

/** Content that ends at `lastGpa`, in one part or, if a page ends within it, in two. */
function pageWrites(bytes: Uint8Array, gpa: number, lastGpa: number): MemoryWrite[] {
  const firstBytes = Math.min(bytes.length, PAGE - (gpa % PAGE));
  if (firstBytes === bytes.length) return [{ gpa, bytes }];
  const nextGpa = lastGpa - (bytes.length - 1 - firstBytes);
  return [
    { gpa, bytes: bytes.subarray(0, firstBytes) },
    { gpa: nextGpa, bytes: bytes.subarray(firstBytes) },
  ];
}
