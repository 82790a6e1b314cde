import { NameMap } from './name-map.ts';
import type { Steps } from './steps.ts';

export interface SymbolEntry {
  readonly address: bigint;
  readonly name: string;
}

const ENTRIES_A_STEP = 512;
/** How far after a symbol an address may lie and still be named after it: no function is longer. */
const FARTHEST_BYTES = 1n << 16n;

/** Names for addresses, by binary search. */
export class SymbolTable {
  private entries: readonly SymbolEntry[];
  /** By name, the first of each. */
  #all: NameMap<bigint> | undefined;
  /** Those that have been asked for by name. */
  readonly #asked = new Map<string, bigint>();

  constructor(entries: readonly SymbolEntry[]) {
    this.entries = [...entries].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  }

  /** In steps, of entries that are sorted by address; every name is known from then on. */
  static *ofSorted(entries: readonly SymbolEntry[]): Steps<SymbolTable> {
    const table = new SymbolTable([]);
    table.entries = entries;
    const all = new NameMap<bigint>();
    for (const [index, { name, address }] of entries.entries()) {
      if ((index + 1) % ENTRIES_A_STEP === 0) yield;
      if (!all.has(name)) all.set(name, address);
    }
    table.#all = all;
    return table;
  }

  get size(): number {
    return this.entries.length;
  }

  /** The address of a symbol of exactly this name. */
  address(name: string): bigint | undefined {
    if (this.#all) return this.#all.get(name);
    const address = this.#asked.get(name) ?? this.entries.find((entry) => entry.name === name)?.address;
    if (address !== undefined) this.#asked.set(name, address);
    return address;
  }

  /** All names of exactly this address. */
  namesAt(address: bigint): string[] {
    const names: string[] = [];
    for (let at = this.#after(address) - 1; this.entries[at]?.address === address; at--)
      names.push(this.entries[at].name);
    return names.reverse();
  }

  /** The lowest address above `address` that has a name. */
  nextAddress(address: bigint): bigint | undefined {
    return this.entries[this.#after(address)]?.address;
  }

  /** Index of the first entry above `address`. */
  #after(address: bigint): number {
    let low = 0;
    let high = this.entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.entries[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** `name` or `name+0x10` for the nearest symbol at or below `address`. */
  lookup(address: bigint): string | undefined {
    const entry = this.entries[this.#after(address) - 1];
    if (!entry || address - entry.address > FARTHEST_BYTES) return undefined;
    const offset = address - entry.address;
    return offset === 0n ? entry.name : `${entry.name}+0x${offset.toString(16)}`;
  }
}
