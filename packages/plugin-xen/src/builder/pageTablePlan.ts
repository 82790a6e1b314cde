import { PAGE_BYTES } from '../layout.ts';

/** Address bits translated by tables of levels 1–4: one L4 entry covers 2^39 bytes. */
const LEVEL_SHIFT = [0n, 12n, 21n, 30n, 39n] as const;
const VIRTUAL_MASK = 0xffff_ffff_ffffn;
const PAE_TOP_GIGABYTE = 0xc000_0000n;
const PAE_TOP_SLOT = 3;

/** A range of virtual addresses mapped to consecutive pseudo-physical frames. `end` is exclusive. */
export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly firstPfn: number;
}

/** Which tables the bootstrap mappings need, and in which pseudo-physical frames they stand. */
export class PageTablePlan {
  readonly levels: 3 | 4;
  /** Level and index of a table (address bits above its reach) → its frame. */
  readonly #tables = new Map<string, number>();

  constructor(levels: 3 | 4) {
    this.levels = levels;
  }

  /** How many tables `start`–`end` needs beyond those already planned. */
  count(start: bigint, end: bigint): number {
    let count = 0;
    for (const key of this.#keys(start, end)) if (!this.#tables.has(key)) count++;
    return count;
  }

  /** Plan the missing tables of a range in consecutive frames, root first; answers how many there are. */
  place(start: bigint, end: bigint, firstPfn: number): number {
    let pfn = firstPfn;
    for (const key of this.#keys(start, end)) if (!this.#tables.has(key)) this.#tables.set(key, pfn++);
    return pfn - firstPfn;
  }

  /** Tables of a range, root first; a PAE root always has its fourth entry, for the hypervisor's hole. */
  *#keys(start: bigint, end: bigint): Generator<string> {
    for (let level: number = this.levels; level >= 1; level--) {
      yield* keys(level, this.levels, start, end);
      if (level === 2 && this.levels === 3 && end <= PAE_TOP_GIGABYTE) yield this.#key(2, PAE_TOP_GIGABYTE);
    }
  }

  #key(level: number, gva: bigint): string {
    return `${level}:${tableIndex(level, this.levels, gva)}`;
  }

  get rootPfn(): number {
    return this.table(this.levels, 0n);
  }

  isTable(pfn: number): boolean {
    return this.#frames().has(pfn);
  }

  /** Frame of the table of `level` that translates `gva`. */
  table(level: number, gva: bigint): number {
    const pfn = this.#tables.get(this.#key(level, gva));
    if (pfn === undefined) throw new Error(`no level-${level} table planned for 0x${gva.toString(16)}`);
    return pfn;
  }

  #cache: Set<number> | undefined;
  #frames(): Set<number> {
    if (this.#cache === undefined || this.#cache.size !== this.#tables.size)
      this.#cache = new Set(this.#tables.values());
    return this.#cache;
  }
}

function tableIndex(level: number, levels: number, gva: bigint): bigint {
  return level === levels ? 0n : (gva & VIRTUAL_MASK) >> LEVEL_SHIFT[level + 1];
}

function* keys(level: number, levels: number, start: bigint, end: bigint): Generator<string> {
  const last = tableIndex(level, levels, end - 1n);
  for (let index = tableIndex(level, levels, start); index <= last; index++) yield `${level}:${index}`;
}

/** Write entry `slot` of the table in frame `tablePfn`, pointing at `targetPfn`. */
export type EntryWriter = (tablePfn: number, slot: number, targetPfn: number, level: number) => void;

/** Write all entries of the planned tables for these mappings. */
export function writeTables(plan: PageTablePlan, mappings: readonly Mapping[], write: EntryWriter): void {
  for (const { start, end, firstPfn } of mappings) {
    let pfn = firstPfn;
    for (let gva = start; gva < end; gva += BigInt(PAGE_BYTES)) {
      write(plan.table(1, gva), slotOf(1, gva), pfn++, 1);
      for (let level = 2; level <= plan.levels; level++) {
        const isFirst = gva === start || (gva & ((1n << LEVEL_SHIFT[level]) - 1n)) === 0n;
        if (!isFirst) break;
        write(plan.table(level, gva), slotOf(level, gva), plan.table(level - 1, gva), level);
      }
    }
  }
  if (plan.levels === 3) write(plan.rootPfn, PAE_TOP_SLOT, plan.table(2, PAE_TOP_GIGABYTE), 3);
}

function slotOf(level: number, gva: bigint): number {
  return Number((gva >> LEVEL_SHIFT[level]) & 511n);
}
