import { PolyvisorError } from '@polyvisor/plugin-api';
import { siteTemplate, tailOfDirectBranch } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { ModuleSite, PatchSite } from './sites.ts';

type GuestWrite = Parameters<RunningKernel['machine']['memory']['writeAll']>[0][number];

const PAGE = 4096;
const OPCODE_GROUP_5 = 0xff;
const SHORTEST_BYTES = 5;
/** How many sites a step of a rehearsal takes. */
const AT_A_TIME = 64;
const JMP = 0xe9;

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

interface Place extends LiveSite {
  /** The branch that is written here; its displacement is filled in each time. Where that counts from: {@link numberOf}. */
  readonly branch: Uint8Array;
  readonly displacementAt: number;
  readonly end: number;
  /** What puts the branch there, and what the kernel had: made once, since the guest waits while they are used. */
  readonly patching: readonly GuestWrite[];
  readonly restoring: readonly GuestWrite[];
  bytes: Uint8Array;
  to: number | undefined;
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
  /** The same by their addresses in memory, so that what is known of a page is gone through once; `undefined`: to be made. */
  #inOrder: readonly Place[] | undefined;
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
    // What stays behind a direct branch: the same boundaries of instructions as before, so that nobody can be within.
    const tail = tailOfDirectBranch(original);
    const { bytes, displacementAt, endAt } = siteTemplate(branch, sizeBytes, tail);
    const writesOf = (content: Uint8Array) => pageWrites(content, gpa, lastGpa);
    const place: Place = {
      ...{ ...site, to: undefined, branch: bytes, displacementAt, end: numberOf(gva) + endAt },
      ...{ patching: writesOf(bytes), restoring: writesOf(original) },
    };
    this.#places.push(place);
    this.#inOrder = undefined;
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
    this.#inOrder = undefined;
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
   * Make every site lead to what `target` answers, by {@link numberOf}; `undefined`: as the kernel had it. Answers how many have changed. Throws
   * RangeError, and nothing is changed, where a branch would not reach.
   */
  retarget(target: (site: LiveSite) => number | undefined): number {
    const changes = this.#changes(this.#ordered(), target);
    this.#kernel.machine.memory.writeAll(made(changes));
    return changes.places.length;
  }

  /** Which of some places would change, and to what. */
  #changes(all: readonly Place[], target: (site: LiveSite) => number | undefined): Changes {
    const places: Place[] = [];
    const targets: (number | undefined)[] = [];
    const displacements = new Int32Array(all.length);
    const wide = this.#kernel.wordBytes === 8;
    for (const place of all) {
      const to = target(place);
      if (to === place.to) continue;
      const displacement = (to ?? place.end) - place.end;
      // 32-bit code reaches every address, since EIP wraps around.
      if (wide && displacement !== (displacement | 0)) throw outOfReach(place.gva);
      displacements[places.length] = displacement;
      places.push(place);
      targets.push(to);
    }
    return { places, targets, displacements };
  }

  /**
   * Write sites as they are, some at a time: nothing changes but that what was decoded and compiled of them is forgotten, and that the
   * host's own code for a change has run before. So a change that follows soon takes less time. Yields between the steps.
   */
  *rehearse(target: (site: LiveSite) => number | undefined, isWanted: (site: LiveSite) => boolean): Generator<void> {
    const ordered = this.#ordered();
    for (let first = 0; first < ordered.length; first += AT_A_TIME) {
      yield;
      const some = ordered.slice(first, first + AT_A_TIME);
      this.#changes(some, target);
      const places = some.filter((place) => isWanted(place) && !this.#isStray(place));
      const displacements = places.map(({ to, end }) => (to ?? end) - end);
      const asTheyAre = { places, targets: places.map(({ to }) => to), displacements: Int32Array.from(displacements) };
      this.#kernel.machine.memory.writeAll(made(asTheyAre));
    }
  }

  #ordered(): readonly Place[] {
    this.#inOrder ??= this.#places.toSorted((a, b) => a.patching[0].gpa - b.patching[0].gpa);
    return this.#inOrder;
  }

  /** Sites whose bytes in the guest are not what has been put there; someone else writes to them. */
  strays(): LiveSite[] {
    return this.#places.filter((place) => this.#isStray(place));
  }
  #isStray({ to, restoring, patching }: Place): boolean {
    const { memory } = this.#kernel.machine;
    return (to === undefined ? restoring : patching).some(({ gpa, bytes }) => {
      const now = memory.readBytes(gpa, bytes.length);
      return now.some((byte, i) => byte !== bytes[i]);
    });
  }
}

/** Places that change, what they are to lead to, and the displacements that this needs. */
interface Changes {
  readonly places: readonly Place[];
  readonly targets: readonly (number | undefined)[];
  readonly displacements: Int32Array;
}

/** The places know of it from now on; what is to be written to guest memory for it. */
function made({ places, targets, displacements }: Changes): GuestWrite[] {
  const writes: GuestWrite[] = [];
  for (let i = 0; i < places.length; i++) {
    const place = places[i];
    place.to = targets[i];
    place.bytes = place.to === undefined ? place.original : place.branch;
    if (place.to !== undefined) setDisplacement(place, displacements[i]);
    const parts = place.to === undefined ? place.restoring : place.patching;
    for (let k = 0; k < parts.length; k++) writes.push(parts[k]);
  }
  return writes;
}

/** Content that ends at `lastGpa`, in one part or, if a page ends within it, in two. */
function pageWrites(bytes: Uint8Array, gpa: number, lastGpa: number): GuestWrite[] {
  const firstBytes = Math.min(bytes.length, PAGE - (gpa % PAGE));
  if (firstBytes === bytes.length) return [{ gpa, bytes }];
  const nextGpa = lastGpa - (bytes.length - 1 - firstBytes);
  return [
    { gpa, bytes: bytes.subarray(0, firstBytes) },
    { gpa: nextGpa, bytes: bytes.subarray(firstBytes) },
  ];
}

function notMapped(gva: bigint): PolyvisorError {
  return new PolyvisorError('PV5012', `no memory is mapped at 0x${gva.toString(16)} of the guest`, 'try again', 10);
}

/** An address as a signed number, in which thousands of displacements are quickly made: exact where kernels are. */
export const numberOf = (gva: bigint) => Number(BigInt.asIntN(64, gva));

function setDisplacement({ branch, displacementAt }: Place, displacement: number): void {
  for (let i = 0; i < 4; i++) branch[displacementAt + i] = displacement >> (8 * i);
}

const outOfReach = (from: bigint) => new RangeError(`what is to be called is out of reach from 0x${from.toString(16)}`);
