import { Level, PageFlag } from './flags.ts';

/** What AllocatePage tells of a page (Linux 2.6.32, arch/x86/include/asm/vmi.h: VMI_PAGE_*). */
export interface PageType {
  readonly level: number;
  readonly pae: boolean;
}

const ENTRIES = { legacy: 1024, pae: 512 } as const;
const KNOWN = Level.MASK | PageFlag.PAE | PageFlag.CLONE | PageFlag.ZEROED;

/** The page tables that the guest has announced. The processor walks the guest's own tables; this is what it says they are. */
export class PageTypes {
  readonly #pages = new Map<number, PageType>();
  readonly #memoryPages: number;

  constructor(memoryPages: number) {
    this.#memoryPages = memoryPages;
  }

  get count(): number {
    return this.#pages.size;
  }
  of(pfn: number): PageType | undefined {
    return this.#pages.get(pfn);
  }

  /**
   * A page becomes a page table. With CLONE the `count` entries from `base` on are those of `original`. Answers why not,
   * or `undefined`. A page that has a type gets the new one.
   */
  allocate(pfn: number, flags: number, original: number, base: number, count: number): string | undefined {
    if (flags & ~KNOWN) return 'unknown flags';
    if (!isOneLevel(flags)) return 'not one level of page tables';
    if (pfn >= this.#memoryPages) return 'no memory';
    const pae = (flags & PageFlag.PAE) !== 0;
    if (flags & PageFlag.CLONE) {
      if (original >= this.#memoryPages) return 'clone of no memory';
      if (base + count > (pae ? ENTRIES.pae : ENTRIES.legacy)) return 'clone of more entries than there are';
    }
    this.#pages.set(pfn, { level: flags & Level.MASK, pae });
    return undefined;
  }

  /** The page is one like any other again. Answers why not, or `undefined`. */
  release(pfn: number, flags: number): string | undefined {
    if (flags & ~KNOWN) return 'unknown flags';
    const type = this.#pages.get(pfn);
    if (!type) return 'no page table';
    if (type.level !== (flags & Level.MASK)) return 'a page table of another level';
    this.#pages.delete(pfn);
    return undefined;
  }
}

/** PML4 is no level of 32-bit page tables. */
export function isOneLevel(flags: number): boolean {
  const level = flags & Level.MASK;
  return level === Level.PT || level === Level.PD || level === Level.PDP;
}
