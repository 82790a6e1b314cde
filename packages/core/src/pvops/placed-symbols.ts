import type { ElfImage } from '@polyvisor/plugin-api';
import { readSymbols } from '../loader/image/elf-symbols.ts';
import { allAtOnce } from '../loader/image/steps.ts';
import type { Machine } from '../machine/index.ts';
import { type Banner, bannersOf, findSlide, type KernelNames } from './kernel-place.ts';

/**
 * Names for guest addresses, from an image whose symbols are read when the first name is asked for. They are those of the
 * places at which it is linked, or of those where a Linux kernel has moved itself to.
 */
export class PlacedSymbols {
  readonly #elf: ElfImage;
  #read: (KernelNames & { readonly banners: readonly Banner[] }) | undefined;
  #unreadable = false;
  #machine: Machine | undefined;
  #slide: bigint | undefined;

  constructor(elf: ElfImage) {
    this.#elf = elf;
  }

  /** The image is about to be run in this machine: where it will be is not known yet. */
  started(machine: Machine): void {
    this.#machine = machine;
    this.#slide = undefined;
  }

  /** Whether a kernel has been found in the guest: its names do not change from then on. */
  get areFound(): boolean {
    return this.#slide !== undefined;
  }

  /** Look for the kernel in the guest, unless it is known where it is. */
  look(): this {
    const read = this.#readAll();
    // What is no Linux kernel stays where it is linked.
    if (!read || read.banners.length === 0) this.#slide = 0n;
    else if (this.#machine) this.#slide ??= findSlide(this.#machine, read, read.banners);
    return this;
  }

  /** Where what is at an address is linked. */
  linkedAt(gva: bigint): bigint {
    return BigInt.asUintN(this.#elf.class, gva - (this.#slide ?? 0n));
  }

  /** `name`, or `name+0x10` within a function or variable. */
  nameOf(gva: bigint): string | undefined {
    return this.#readAll()?.symbols.lookup(this.linkedAt(gva));
  }

  /** `undefined` if the symbols are damaged, which is no reason for a report to fail. */
  #readAll() {
    if (this.#read || this.#unreadable) return this.#read;
    try {
      const names: KernelNames = { symbols: readSymbols(this.#elf), wordBytes: this.#elf.class === 64 ? 8 : 4 };
      this.#read = { ...names, banners: allAtOnce(bannersOf(this.#elf, names)) };
    } catch {
      this.#unreadable = true;
    }
    return this.#read;
  }
}
