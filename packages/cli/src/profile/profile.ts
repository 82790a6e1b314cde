import type { GuestSample, PlacedSymbols } from '@polyvisor/core';

/** Names, which may only be known once a kernel has been found in the guest. */
type Names = Pick<PlacedSymbols, 'areFound' | 'nameOf'> & { look(): unknown };

const USER = '[user]';
const NO_SYMBOL = '[no symbol]';
/** Lowest address that a canonical 48-bit address's upper half has; user programs have the lower one. */
const UPPER_HALF = 1n << 63n;
/** Distinct stacks kept; samples of further ones count for their innermost frame alone. */
const MOST_STACKS = 1 << 16;
/** Distinct user address spaces kept apart. */
const MOST_ADDRESS_SPACES = 1 << 12;
/** Samples without names, before they are looked for. */
const MOST_WAITING = 1 << 10;

/** A distinct stack: frames from the outermost to the innermost, and what was executed there. */
export interface WeighedStack {
  readonly frames: readonly string[];
  readonly instructions: number;
}

/** A row of the table: executed in the function itself, and in it and all that it called. */
export interface SymbolRow {
  readonly name: string;
  readonly selfInstructions: number;
  readonly totalInstructions: number;
}

/** Samples of a guest by symbol, kept within bounds however long it runs. */
export class GuestProfile {
  sampleCount = 0;
  readonly #names: Names | undefined;
  readonly #stacks = new Map<string, { frames: string[]; instructions: number }>();
  readonly #addressSpaces = new Set<bigint>();
  readonly #waiting: GuestSample[] = [];

  constructor(names: Names | undefined) {
    this.#names = names;
  }

  add(sample: GuestSample): void {
    this.sampleCount++;
    if (!this.#names || this.#names.areFound) this.#count(sample);
    else if (this.#waiting.push(sample) === MOST_WAITING) this.settle();
  }

  /** Name what waits for it: a boot has ended, and the next one has other places. */
  settle(): void {
    this.#names?.look();
    for (const sample of this.#waiting.splice(0)) this.#count(sample);
  }

  #count(sample: GuestSample): void {
    let frames = this.#framesOf(sample);
    if (!this.#stacks.has(frames.join('\n')) && this.#stacks.size >= MOST_STACKS) frames = frames.slice(-1);
    const key = frames.join('\n');
    const known = this.#stacks.get(key);
    if (known) known.instructions += sample.instructions;
    else this.#stacks.set(key, { frames, instructions: sample.instructions });
  }

  /** Distinct stacks in the order of their frames' names. */
  stacks(): WeighedStack[] {
    return [...this.#stacks]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, { frames, instructions }]) => ({ frames, instructions }));
  }

  get instructions(): number {
    return [...this.#stacks.values()].reduce((sum, stack) => sum + stack.instructions, 0);
  }

  /** Every name, most executed first; all user programs are one. */
  rows(): SymbolRow[] {
    const self = new Map<string, number>();
    const total = new Map<string, number>();
    for (const { frames, instructions } of this.#stacks.values()) {
      const named = frames[0] === USER ? [USER] : frames;
      const innermost = named[named.length - 1];
      self.set(innermost, (self.get(innermost) ?? 0) + instructions);
      for (const name of new Set(named)) total.set(name, (total.get(name) ?? 0) + instructions);
    }
    return [...total]
      .map(([name, totalInstructions]) => ({ name, selfInstructions: self.get(name) ?? 0, totalInstructions }))
      .sort((a, b) => b.selfInstructions - a.selfInstructions || b.totalInstructions - a.totalInstructions);
  }

  /** User programs have no symbols here: one frame for each address space. */
  #framesOf({ cpl, cr3, rip, callers }: GuestSample): string[] {
    const name = this.#nameOf(rip);
    // A 64-bit PV kernel runs at CPL 3 too, in the upper half; one in the lower half has symbols.
    if (cpl === 3 && rip < UPPER_HALF && name === NO_SYMBOL) {
      const isKnown = this.#addressSpaces.has(cr3) || this.#addressSpaces.size < MOST_ADDRESS_SPACES;
      if (!isKnown) return [USER];
      this.#addressSpaces.add(cr3);
      return [USER, `[cr3 0x${cr3.toString(16)}]`];
    }
    // A return address may be that of the next function, if the call never returns.
    return [name, ...callers.map((address) => this.#nameOf(address - 1n))].reverse();
  }

  #nameOf(gva: bigint): string {
    return this.#names?.nameOf(gva)?.replace(/\+0x[0-9a-f]+$/, '') ?? NO_SYMBOL;
  }
}
