export interface SymbolEntry {
  readonly address: bigint;
  readonly name: string;
}

/** How far after a symbol an address may lie and still be named after it: no function is longer. */
const FARTHEST_BYTES = 1n << 16n;

/** Names for addresses, by binary search. */
export class SymbolTable {
  private readonly entries: readonly SymbolEntry[];
  /** Those that have been asked for by name. */
  readonly #asked = new Map<string, bigint>();

  constructor(entries: readonly SymbolEntry[]) {
    this.entries = [...entries].sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  }

  get size(): number {
    return this.entries.length;
  }

  /** The address of a symbol of exactly this name. */
  address(name: string): bigint | undefined {
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
