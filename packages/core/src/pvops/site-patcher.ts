import { PolyvisorError } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import { type Branch, directBranch } from './code.ts';
import { type LiveSite, SitePlace } from './live-site.ts';
import type { RunningKernel } from './running-kernel.ts';
import { SiteTable, type SiteTargets, type SlotTargets } from './site-table.ts';
import type { ModuleSite, PatchSite } from './sites.ts';

const OPCODE_GROUP_5 = 0xff;
const SHORTEST_BYTES = 5;
/** How often a first rehearsal goes through all sites: the host compiles only what has run for long. */
const COLD_PASSES = 4;
/** How many parts of sites a step of a rehearsal takes, and how many sites are looked at in one. */
const AT_A_TIME = 64;
const SITES_A_STEP = 16;
const JMP = 0xe9;

/**
 * The call sites of a running kernel, and writing to them. What is written is one instruction, or has the boundaries of
 * instructions that are there; so taking it back, or putting something else in its place, is possible at any time. The first
 * time, nobody may be within a site whose instructions are the kernel's own ({@link isWithinInline}).
 */
export class SitePatcher {
  readonly #kernel: RunningKernel;
  readonly #initFirst: bigint;
  readonly #initEnd: bigint;
  #places: SitePlace[] = [];
  /** Where those of the kernel's own lead. */
  #kernelSites = SiteTable.of([]);
  /** The same of its modules; `undefined`: to be made. */
  #moduleSites: SiteTable | undefined;
  /** Sites that are left alone: in code that the kernel gives away once it has booted, or no calls of operations. */
  readonly leftOut: PatchSite[] = [];
  /**
   * Addresses strictly within sites, between instructions of the kernel's own, for as long as those are there: their lower halves.
   * No two are alike in these, since a branch reaches from each to the same gates.
   */
  readonly #within = new Map<number, SitePlace>();
  #passes = COLD_PASSES;

  /** Those of the kernel's own, in steps. `linkedCode`: what the kernel's file has at a site. Throws PV5012 where the kernel is not mapped at this moment. */
  static *inSteps(kernel: RunningKernel, linkedCode: (site: PatchSite) => Uint8Array | undefined): Steps<SitePatcher> {
    const patcher = new SitePatcher(kernel);
    let looked = 0;
    for (const { sites } of kernel.ops.all) {
      for (const site of sites) {
        if (++looked % SITES_A_STEP === 0) yield;
        patcher.#add(site, linkedCode(site));
      }
    }
    patcher.#kernelSites = yield* SiteTable.inSteps(patcher.#places);
    return patcher;
  }

  private constructor(kernel: RunningKernel) {
    this.#kernel = kernel;
    // Behind it there is no code; where data have no symbols, its end has none.
    this.#initFirst = kernel.symbol('__init_begin') ?? 0n;
    this.#initEnd = this.#initFirst === 0n ? 0n : (kernel.symbol('__init_end') ?? kernel.wrap(-1n));
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
    const branch = linked && branchOf(site, linked, original);
    if (branch) this.#place(new SitePlace({ ...site, gva, original }, branch, { gpa, lastGpa }));
    else this.leftOut.push(site);
  }

  #place(place: SitePlace): SitePlace {
    this.#places.push(place);
    this.#moduleSites = undefined;
    if (place.hasInline) {
      const first = Number(place.gva & 0xffffffffn);
      for (let i = 1; i < place.sizeBytes; i++) this.#within.set((first + i) >>> 0, place);
    }
    return place;
  }

  /** A site in a kernel module; such calls come back. `undefined`: it is not mapped at this moment. */
  addModuleSite({ gva, sizeBytes, slot, listedIn }: ModuleSite, module: string): LiveSite | undefined {
    const original = this.#kernel.readNow(gva, sizeBytes);
    const gpa = this.#kernel.gpaNow(gva);
    const lastGpa = this.#kernel.gpaNow(gva + BigInt(sizeBytes - 1));
    if (!original || gpa === undefined || lastGpa === undefined) return undefined;
    const site = { address: gva, sizeBytes, slot, listedIn, alternatives: [], gva, original, module };
    return this.#place(new SitePlace(site, original[0] === JMP ? 'jmp' : 'call', { gpa, lastGpa }));
  }

  /** Know no more of sites whose code is gone, or is going to be. */
  forget(gone: ReadonlySet<LiveSite>): void {
    if (gone.size === 0) return;
    this.#places = this.#places.filter((place) => !gone.has(place));
    this.#moduleSites = undefined;
    for (const [gva, place] of this.#within) if (gone.has(place)) this.#within.delete(gva);
  }

  get sites(): readonly LiveSite[] {
    return this.#places;
  }

  /** Whether somebody who goes on at an address, of which these are the halves, would be in the midst of instructions that a first patch removes. */
  isWithinInline(low: number, high: number): boolean {
    const place = this.#within.get(low >>> 0);
    return place?.isAsBefore === true && place.gvaHigh === high >>> 0;
  }

  /**
   * Make every site lead where `targets` says. Answers how many have changed. Throws RangeError, and nothing is changed, where a
   * branch would not reach.
   */
  retarget(targets: SiteTargets): number {
    const tables = this.#tables();
    for (const table of this.#kernel.wordBytes === 8 ? tables : []) {
      const tooFar = table.outOfReach(targets);
      if (tooFar) throw outOfReach(tooFar.gva);
    }
    let sites = 0;
    for (const table of tables) {
      const { writes, changed } = table.lead(targets);
      this.#kernel.machine.memory.writeAll(writes);
      sites += changed;
    }
    return sites;
  }
  #tables(): readonly SiteTable[] {
    this.#moduleSites ??= SiteTable.of(this.#places.filter(({ module }) => module !== undefined));
    return [this.#kernelSites, this.#moduleSites];
  }

  /**
   * Write the sites that are going to change as they are, some at a time: nothing changes but that what was decoded and compiled of them is
   * forgotten, and that all of the host's own code for a change has run before. So a change that follows soon takes less time. Yields
   * between the steps.
   */
  *rehearse(targets: SlotTargets): Steps<void> {
    while ((yield* this.#rehearse(targets)) && this.#passes > 1) this.#passes--;
  }
  /** Answers whether any site would change. */
  *#rehearse(targets: SlotTargets): Steps<boolean> {
    let any = false;
    for (const table of this.#tables()) {
      yield;
      table.outOfReach(targets);
      const changing = table.wouldChange(targets);
      any ||= changing.includes(1);
      const isStray = (place: SitePlace) => this.#isStray(place);
      for (let first = 0; first < table.partCount; first += AT_A_TIME) {
        yield;
        // The guest has run: its modules may be others by now, whose sites are written to without this.
        if (!this.#tables().includes(table)) return false;
        const end = Math.min(first + AT_A_TIME, table.partCount);
        this.#kernel.machine.memory.rewriteAll(table.asTheyAre(first, end, changing, isStray));
      }
    }
    return any;
  }

  /** Sites whose bytes in the guest are not what has been put there; someone else writes to them. */
  strays(): LiveSite[] {
    return this.#places.filter((place) => this.#isStray(place));
  }
  #isStray({ bytes, parts }: SitePlace): boolean {
    const { memory } = this.#kernel.machine;
    return parts.some(({ gpa, offset, sizeBytes }) =>
      memory.readBytes(gpa, sizeBytes).some((byte, i) => byte !== bytes[offset + i]),
    );
  }
}

/**
 * What goes into a site: CALL or JMP, as its instruction in the file is one through the table, or a direct one, which a static
 * call's is in memory too. `undefined`: it is neither.
 */
function branchOf({ listedIn, sizeBytes }: PatchSite, linked: Uint8Array, original: Uint8Array): Branch | undefined {
  if (listedIn === '.static_call_sites' || listedIn === '.static_call.text') {
    const direct = directBranch(linked);
    return directBranch(original) === direct ? direct : undefined;
  }
  if (linked[0] !== OPCODE_GROUP_5 || sizeBytes < SHORTEST_BYTES) return undefined;
  return ((linked[1] >> 3) & 7) === 4 ? 'jmp' : 'call';
}

function notMapped(gva: bigint): PolyvisorError {
  return new PolyvisorError('PV5012', `no memory is mapped at 0x${gva.toString(16)} of the guest`, 'try again', 10);
}

const outOfReach = (from: bigint) => new RangeError(`what is to be called is out of reach from 0x${from.toString(16)}`);
