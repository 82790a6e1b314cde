import type { GuestMemory } from '@polyvisor/plugin-api';
import type { MemoryAliases } from './mmio-bus.ts';

const PAGE = 4096;

/** Pages of memory that are seen at further guest-physical addresses, above all memory. */
export class PageAliases implements MemoryAliases {
  readonly #memory: GuestMemory;
  /** First address of the page that shows → first address of the page that is shown. */
  readonly #targets = new Map<number, number>();

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** @throws RangeError for addresses that are no pages, an alias within memory, and a target outside it */
  set(gpa: number, targetGpa: number | undefined): void {
    const isPage = (address: number) => Number.isSafeInteger(address) && address >= 0 && address % PAGE === 0;
    if (!isPage(gpa) || gpa < this.#memory.sizeBytes) throw new RangeError(`an alias at 0x${gpa.toString(16)}`);
    if (targetGpa === undefined) {
      this.#targets.delete(gpa);
      return;
    }
    if (!isPage(targetGpa) || targetGpa + PAGE > this.#memory.sizeBytes) {
      throw new RangeError(`an alias of 0x${targetGpa.toString(16)}`);
    }
    this.#targets.set(gpa, targetGpa);
  }

  readMemory(gpa: number, into: Uint8Array): boolean {
    const target = this.#find(gpa, into.length);
    if (target !== undefined) into.set(this.#memory.readBytes(target, into.length));
    return target !== undefined;
  }
  writeMemory(gpa: number, bytes: Uint8Array): boolean {
    const target = this.#find(gpa, bytes.length);
    if (target !== undefined) this.#memory.writeBytes(target, bytes);
    return target !== undefined;
  }

  /** The engine hands an access that crosses pages on in two parts; one that does so all the same finds nothing. */
  #find(gpa: number, sizeBytes: number): number | undefined {
    const offset = gpa % PAGE;
    const target = offset + sizeBytes <= PAGE ? this.#targets.get(gpa - offset) : undefined;
    return target === undefined ? undefined : target + offset;
  }
}
