import { PolyvisorError } from '@polyvisor/plugin-api';
import { siteTemplate, tailOfDirectBranch } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { ModuleSite, PatchSite } from './sites.ts';

const PAGE = 4096;
const OPCODE_GROUP_5 = 0xff;
const SHORTEST_BYTES = 5;
const JMP = 0xe9;

/** A call site in a running kernel. */
export interface LiveSite extends PatchSite {
  /** Where it is now. */
  readonly gva: bigint;
  /** What the kernel has put there by itself. */
  readonly original: Uint8Array;
  /** What is there now. */
  readonly bytes: Uint8Array;
  /** Where it leads; `undefined`: it is as the kernel had it. */
  readonly to?: bigint | undefined;
  /** The kernel module that it is in. */
  readonly module?: string | undefined;
}

interface Place extends LiveSite {
  /** The branch that is written here, but for its displacement, and where that counts from: {@link numberOf}. */
  readonly template: Uint8Array;
  readonly displacementAt: number;
  readonly end: number;
  /** Guest-physical address, and that of the second part if a page ends within the site. */
  readonly gpa: number;
  readonly firstBytes: number;
  readonly nextGpa: number;
  bytes: Uint8Array;
  to: bigint | undefined;
}

/**
 * The call sites of a running kernel, and writing to them. What is written is one instruction, or has the boundaries of
 * instructions that are there; so taking it back, or putting something else in its place, is possible at any time. The first
 * time, nobody may be within a site whose instructions are the kernel's own ({@link isWithinInline}).
 */
export class SitePatcher {
  readonly #kernel: RunningKernel;
  readonly #initFirst: bigint;
  readonly #initEnd: bigint;
  #places: Place[] = [];
  /** Sites that are left alone: in code that the kernel gives away once it has booted, or no calls through the table. */
  readonly leftOut: PatchSite[] = [];
  /** Addresses strictly within sites, between instructions of the kernel's own, for as long as those are there. */
  readonly #within = new Map<bigint, Place>();

  /** Throws PV5012 where the kernel is not mapped at this moment. */
  constructor(kernel: RunningKernel, linkedOpcode: (site: PatchSite) => Uint8Array | undefined) {
    this.#kernel = kernel;
    // Behind it there is no code; where data have no symbols, its end has none.
    this.#initFirst = kernel.symbol('__init_begin') ?? 0n;
    this.#initEnd = this.#initFirst === 0n ? 0n : (kernel.symbol('__init_end') ?? kernel.wrap(-1n));
    for (const { sites } of kernel.ops.slots) {
      for (const site of sites) this.#add(site, linkedOpcode(site));
    }
  }

  /** Code for the time of booting: its memory is used for other things afterwards. */
  #isInit(gva: bigint): boolean {
    return gva >= this.#initFirst && gva < this.#initEnd;
  }

  #add(site: PatchSite, linked: Uint8Array | undefined): void {
    const gva = this.#kernel.placeOf(site.address);
    if (this.#isInit(gva)) {
      this.leftOut.push(site);
      return;
    }
    const original = this.#kernel.read(gva, site.sizeBytes);
    const gpa = this.#kernel.gpaOf(gva);
    const lastGpa = this.#kernel.gpaOf(gva + BigInt(site.sizeBytes - 1));
    if (!original || gpa === undefined || lastGpa === undefined) throw notMapped(gva);
    const isCall = linked?.[0] === OPCODE_GROUP_5 && site.sizeBytes >= SHORTEST_BYTES;
    if (!isCall) {
      this.leftOut.push(site);
      return;
    }
    this.#place(
      { ...site, gva, original, bytes: original },
      ((linked[1] >> 3) & 7) === 4 ? 'jmp' : 'call',
      gpa,
      lastGpa,
    );
  }

  #place(site: LiveSite, branch: 'call' | 'jmp', gpa: number, lastGpa: number): Place {
    const { gva, sizeBytes, original } = site;
    const firstBytes = Math.min(sizeBytes, PAGE - (gpa % PAGE));
    // What stays behind a direct branch: the same boundaries of instructions as before, so that nobody can be within.
    const tail = tailOfDirectBranch(original);
    const { bytes: template, displacementAt, endAt } = siteTemplate(branch, sizeBytes, tail);
    const nextGpa = lastGpa - (sizeBytes - 1 - firstBytes);
    const end = numberOf(gva) + endAt;
    const place: Place = { ...site, gpa, firstBytes, to: undefined, nextGpa, template, displacementAt, end };
    this.#places.push(place);
    if (!tail) for (let i = 1; i < sizeBytes; i++) this.#within.set(gva + BigInt(i), place);
    return place;
  }

  /** A site in a kernel module; such calls come back. `undefined`: it is not mapped at this moment. */
  addModuleSite({ gva, sizeBytes, slot, listedIn }: ModuleSite, module: string): LiveSite | undefined {
    const original = this.#kernel.readNow(gva, sizeBytes);
    const gpa = this.#kernel.gpaNow(gva);
    const lastGpa = this.#kernel.gpaNow(gva + BigInt(sizeBytes - 1));
    if (!original || gpa === undefined || lastGpa === undefined) return undefined;
    const site = { address: gva, sizeBytes, slot, listedIn, alternatives: [], gva, original, bytes: original, module };
    return this.#place(site, original[0] === JMP ? 'jmp' : 'call', gpa, lastGpa);
  }

  /** Know no more of sites whose code is gone, or is going to be. */
  forget(gone: ReadonlySet<LiveSite>): void {
    if (gone.size === 0) return;
    this.#places = this.#places.filter((place) => !gone.has(place));
    for (const [gva, place] of this.#within) if (gone.has(place)) this.#within.delete(gva);
  }

  get sites(): readonly LiveSite[] {
    return this.#places;
  }

  /** Whether somebody who goes on at `gva` would be in the midst of instructions that a first patch removes. */
  isWithinInline(gva: bigint): boolean {
    const place = this.#within.get(gva);
    return place !== undefined && place.to === undefined;
  }

  /**
   * Make every site lead to what `target` answers; `undefined`: as the kernel had it. Answers how many have changed. Throws
   * RangeError, and nothing is changed, where a branch would not reach.
   */
  retarget(target: (site: LiveSite) => bigint | undefined): number {
    const wide = this.#kernel.wordBytes === 8;
    const changed: Place[] = [];
    const made: { to: bigint | undefined; bytes: Uint8Array }[] = [];
    let last: bigint | undefined;
    let lastNumber = 0;
    for (const place of this.#places) {
      const to = target(place);
      if (to === place.to) continue;
      changed.push(place);
      if (to === undefined) {
        made.push({ to, bytes: place.original });
        continue;
      }
      // Sites are listed slot by slot.
      if (to !== last) lastNumber = numberOf(to);
      last = to;
      const displacement = lastNumber - place.end;
      // 32-bit code reaches every address, since EIP wraps around.
      if (wide && displacement !== (displacement | 0)) throw outOfReach(place.gva, to);
      made.push({ to, bytes: withDisplacement(place, displacement) });
    }
    const writes: { gpa: number; bytes: Uint8Array }[] = [];
    for (let i = 0; i < changed.length; i++) {
      const place = changed[i];
      const { gpa, firstBytes, nextGpa } = place;
      const { to, bytes } = made[i];
      if (firstBytes === bytes.length) writes.push({ gpa, bytes });
      else
        writes.push({ gpa, bytes: bytes.subarray(0, firstBytes) }, { gpa: nextGpa, bytes: bytes.subarray(firstBytes) });
      place.bytes = bytes;
      place.to = to;
    }
    this.#kernel.machine.memory.writeAll(writes);
    return changed.length;
  }

  /** Sites whose bytes in the guest are not what has been put there; someone else writes to them. */
  strays(): LiveSite[] {
    const { memory } = this.#kernel.machine;
    return this.#places.filter(({ gpa, firstBytes, nextGpa, sizeBytes, bytes }) => {
      const now = [memory.readBytes(gpa, firstBytes), memory.readBytes(nextGpa, sizeBytes - firstBytes)];
      return now.some((part, i) => part.some((byte, at) => byte !== bytes[at + i * firstBytes]));
    });
  }
}

function notMapped(gva: bigint): PolyvisorError {
  return new PolyvisorError('PV5012', `no memory is mapped at 0x${gva.toString(16)} of the guest`, 'try again', 10);
}

/** An address as a signed number, in which thousands of displacements are quickly made: exact where kernels are. */
const numberOf = (gva: bigint) => Number(BigInt.asIntN(64, gva));

function withDisplacement({ template, displacementAt }: Place, displacement: number): Uint8Array {
  const bytes = template.slice();
  for (let i = 0; i < 4; i++) bytes[displacementAt + i] = displacement >> (8 * i);
  return bytes;
}

const outOfReach = (from: bigint, to: bigint) =>
  new RangeError(`0x${to.toString(16)} is out of reach from 0x${from.toString(16)}`);
