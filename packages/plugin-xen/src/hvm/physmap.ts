import type { Machine } from '@polyvisor/plugin-api';
import type { HypervisorFrames, MemoryManager } from '../domain.ts';
import { EINVAL } from '../errno.ts';
import { PAGE_BYTES } from '../layout.ts';

/** MAXPHYADDR of the machine is 40 bits. */
const GFN_LIMIT = 2 ** 28;

/** A page of the hypervisor's that the guest may place in its physmap: shared_info, a frame of the grant table. */
export interface SpecialPage {
  /** One for each page, the same at every call. */
  readonly key: string;
  /** Where it is now. */
  readonly mfn: number;
  /** Its contents are in another frame from now on. */
  moved(mfn: number): void;
}

interface Placed {
  readonly page: SpecialPage;
  /** The frame that is the hypervisor's own. */
  readonly homeMfn: number;
}

/**
 * Memory of a guest that is translated by the processor: frames 0 up to its size are its own, those above are the
 * hypervisor's, which the guest sees as reserved. All arguments may be hostile.
 */
export class Physmap implements MemoryManager, HypervisorFrames {
  readonly #machine: Machine;
  readonly guestPages: number;
  /** 1: the guest has a page of its own there. */
  readonly #populated: Uint8Array;
  readonly #free: number[] = [];
  readonly #placed = new Map<number, Placed>();
  readonly #gfns = new Map<string, number>();
  /** Pages that the guest has. */
  populatedPages: number;

  constructor(machine: Machine) {
    this.#machine = machine;
    this.guestPages = Math.floor(machine.platform.memoryBytes / PAGE_BYTES);
    this.populatedPages = this.guestPages;
    this.#populated = new Uint8Array(this.guestPages).fill(1);
    const { memoryBytes, overheadBytes } = machine.platform;
    const frames = Math.floor((memoryBytes + overheadBytes) / PAGE_BYTES);
    for (let mfn = frames - 1; mfn >= this.guestPages; mfn--) this.#free.push(mfn);
  }

  // Frames of the hypervisor's.

  allocate(): number | undefined {
    const mfn = this.#free.pop();
    if (mfn !== undefined) this.#machine.memory.fill(mfn * PAGE_BYTES, PAGE_BYTES, 0);
    return mfn;
  }
  free(mfn: number): void {
    this.#free.push(mfn);
  }
  get freeCount(): number {
    return this.#free.length;
  }

  // What other rooms may ask. Nothing is a page table here: every page may be written.

  isGuestFrame(mfn: number): boolean {
    return Number.isInteger(mfn) && this.#populated[mfn] === 1;
  }
  takeWritable(mfn: number): boolean {
    return this.isGuestFrame(mfn);
  }
  releaseWritable(): void {}
  share(): void {}
  /** Pages stay where the guest has placed them. */
  takeBack(): boolean {
    return true;
  }
  pfnOf(mfn: number): number | undefined {
    return this.isGuestFrame(mfn) ? mfn : undefined;
  }

  // The physmap.

  /** Make a page of the hypervisor's the one at `gfn`, and only there; what was there goes. 0 or an errno. */
  place(page: SpecialPage, gfn: number): bigint {
    if (this.#gfns.get(page.key) === gfn) return 0n;
    if (!this.#isPlace(gfn)) return EINVAL;
    this.remove(gfn);
    const old = this.#gfns.get(page.key);
    if (old !== undefined) this.#unhook(old);
    this.#placed.set(gfn, { page, homeMfn: page.mfn });
    this.#gfns.set(page.key, gfn);
    if (gfn < this.guestPages) this.#move(page, gfn);
    else this.#machine.aliasPage(gfn * PAGE_BYTES, page.mfn * PAGE_BYTES);
    return 0n;
  }

  /** Take away what is at `gfn`; `false`: nothing is. */
  remove(gfn: number): boolean {
    if (this.#placed.has(gfn)) {
      this.#unhook(gfn);
      return true;
    }
    if (!this.isGuestFrame(gfn)) return false;
    this.#populated[gfn] = 0;
    this.populatedPages--;
    return true;
  }

  /** Give the guest an empty page where it has none; `false`: not there. */
  populate(gfn: number): boolean {
    if (!Number.isInteger(gfn) || this.#populated[gfn] !== 0 || this.#placed.has(gfn)) return false;
    this.#machine.memory.fill(gfn * PAGE_BYTES, PAGE_BYTES, 0);
    this.#populated[gfn] = 1;
    this.populatedPages++;
    return true;
  }

  /** Within the guest's memory, or above all memory. */
  #isPlace(gfn: number): boolean {
    if (!Number.isInteger(gfn) || gfn < 0 || gfn >= GFN_LIMIT) return false;
    return gfn < this.guestPages || gfn * PAGE_BYTES >= this.#machine.memory.sizeBytes;
  }

  /** A page goes home; where it was there is nothing. */
  #unhook(gfn: number): void {
    const { page, homeMfn } = this.#placed.get(gfn) as Placed;
    this.#placed.delete(gfn);
    this.#gfns.delete(page.key);
    if (gfn >= this.guestPages) {
      this.#machine.aliasPage(gfn * PAGE_BYTES, undefined);
      return;
    }
    this.#move(page, homeMfn);
    this.#machine.memory.fill(gfn * PAGE_BYTES, PAGE_BYTES, 0);
  }

  #move(page: SpecialPage, mfn: number): void {
    const { memory } = this.#machine;
    memory.writeBytes(mfn * PAGE_BYTES, memory.readBytes(page.mfn * PAGE_BYTES, PAGE_BYTES));
    page.moved(mfn);
  }
}
