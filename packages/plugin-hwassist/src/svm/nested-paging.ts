/**
 * Nested paging: from guest-physical to machine addresses by the tables at nCR3 (AMD APM vol. 2, 15.25; the entries as in
 * chapter 5). Physical addresses have 40 bits.
 */
import type { GuestMemory, SecondLevel, SecondLevelAccess } from '@polyvisor/plugin-api';

/** The paging mode of the host when it executed VMRUN, which nested tables are in too (15.25.3). */
export interface NestedPagingMode {
  /** `legacy`: 32-bit entries; `pae`: four PDPEs and 64-bit entries; `four`: PML4 of long mode. */
  readonly levels: 'legacy' | 'pae' | 'four';
  /** As in the VMCB; less than 2^40. */
  readonly nCr3: number;
  /** EFER.NXE of the host; entries of `legacy` have no NX. */
  readonly noExecute: boolean;
  /** EFER.NXE or CR4.SMEP of the host: a fault says whether it is a fetch. */
  readonly fetchesAreTold: boolean;
  /** CR4.PSE of the host: 4-MiB pages of `legacy`. The other modes have large pages at all times. */
  readonly pageSizeExtensions: boolean;
}

/** EXITINFO1 of #VMEXIT(NPF) (15.25.6). FINAL and TABLE are in its upper half, so they are numbers for a bigint. */
export const NpfCode = { P: 1, RW: 2, US: 4, RSV: 8, ID: 16, FINAL: 1n << 32n, TABLE: 1n << 33n } as const;

/** Low half of an entry (5.3, 5.4). */
const Entry = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
/** Bits 51:40 in the upper half of an entry. */
const HIGH_RESERVED = 0x000f_ff00;
/** Bits 62:52 too: MBZ in PAE paging, available in long mode. */
const HIGH_RESERVED_PAE = 0x7fff_ff00;
/** MBZ bits of a PDPE of PAE paging, by halves. */
const PDPE_RESERVED_LOW = 0x1e6;
const PDPE_RESERVED_HIGH = 0xffff_ff00;
/** MBZ bits of an entry for a large page by level: below the page's address, but for PAT in bit 12. */
const LARGE_RESERVED = [0, 0x001f_e000, 0x3fff_e000, 0];
/** MBZ bits of the low half of an entry that leads to a table, by level: bit 8 of PDPE and PML4E, PS of PML4E. */
const TABLE_RESERVED = [0, 0, Entry.G, Entry.G | Entry.PS];
/** Bit 21 of a PDE for 4 MiB; bits 20:13 are bits 39:32 of the address (PSE-40). */
const PDE_4M_RESERVED = 1 << 21;

const PML4 = 3;
const PDPT = 2;
const PD = 1;
const WORDS_PER_PAGE = 1024;

/** The page number that a 64-bit entry has: bits 39:12. */
const frameOf = (low: number, high: number): number => ((high & 0xff) << 20) | (low >>> 12);

/**
 * The tables of one guest. Walks are user accesses, so CR0.WP does not count; those for the guest's page tables are writes
 * (15.25.5, 15.25.6). Accessed bits are set of each entry that is passed, the dirty bit when the walk is for a write. A table
 * beyond memory is one that is not present; a page may be beyond it.
 */
export class NestedPageTables implements SecondLevel {
  /** Of the last {@link translate} that answered -1: the low half of EXITINFO1. */
  errorCode = 0;
  readonly #memory: GuestMemory;
  readonly #levels: NestedPagingMode['levels'];
  readonly #nCr3: number;
  readonly #noExecute: boolean;
  /** ID, where fetches are told apart: by EFER.NXE or CR4.SMEP of the host (15.25.6; 8.4.2). */
  readonly #fetchCode: number;
  readonly #has4MPages: boolean;
  readonly #highReserved: number;
  /** Guest-physical pages that the mode has entries for. */
  readonly #pages: number;
  readonly #memoryWords: number;

  constructor(memory: GuestMemory, { levels, nCr3, noExecute, fetchesAreTold, pageSizeExtensions }: NestedPagingMode) {
    this.#memory = memory;
    this.#levels = levels;
    this.#nCr3 = nCr3;
    this.#noExecute = noExecute;
    this.#fetchCode = fetchesAreTold ? NpfCode.ID : 0;
    this.#has4MPages = pageSizeExtensions;
    this.#highReserved = levels === 'pae' ? HIGH_RESERVED_PAE : HIGH_RESERVED;
    this.#pages = levels === 'four' ? 2 ** 28 : 2 ** 20;
    this.#memoryWords = memory.sizeBytes / 4;
  }

  /** `page`: guest-physical address divided by 4,096, at most 32 bits. The machine's page, or -1 and {@link errorCode}. */
  translate(page: number, access: SecondLevelAccess): number {
    if (page >>> 0 >= this.#pages) return this.#fault(access, 0);
    switch (this.#levels) {
      case 'four':
        return this.#descend(PML4, Math.floor(this.#nCr3 / 4096), page, access);
      case 'pae':
        return this.#fromPdpe(page, access);
      case 'legacy':
        return this.#walkLegacy(page, access);
    }
  }

  #fromPdpe(page: number, access: SecondLevelAccess): number {
    const at = ((this.#nCr3 & ~31) >>> 2) + (page >>> 18) * 2;
    if (at >= this.#memoryWords) return this.#fault(access, 0);
    const low = this.#memory.words[at];
    const high = this.#memory.words[at + 1];
    if ((low & Entry.P) === 0) return this.#fault(access, 0);
    if ((low & PDPE_RESERVED_LOW) !== 0 || (high & PDPE_RESERVED_HIGH) !== 0) {
      return this.#fault(access, NpfCode.P | NpfCode.RSV);
    }
    return this.#descend(PD, frameOf(low, high), page, access);
  }

  /** 64-bit entries, from the table in page `table` on. */
  #descend(topLevel: number, table: number, page: number, access: SecondLevelAccess): number {
    const { words } = this.#memory;
    let allowed: number = Entry.RW | Entry.US;
    let noExecute = 0;
    for (let level = topLevel, tablePage = table; ; level--) {
      const at = tablePage * WORDS_PER_PAGE + ((page >>> (9 * level)) & 511) * 2;
      if (at >= this.#memoryWords) return this.#fault(access, 0);
      const low = words[at];
      const high = words[at + 1];
      if ((low & Entry.P) === 0) return this.#fault(access, 0);
      const isPage = level === 0 || (level <= PDPT && (low & Entry.PS) !== 0);
      const lowReserved = isPage ? LARGE_RESERVED[level] : TABLE_RESERVED[level];
      if ((low & lowReserved) !== 0 || (high & this.#highReserved) !== 0 || (high < 0 && !this.#noExecute)) {
        return this.#fault(access, NpfCode.P | NpfCode.RSV);
      }
      allowed &= low;
      noExecute |= high;
      if (isPage) {
        const inPage = (1 << (9 * level)) - 1;
        const frame = (frameOf(low, high) & ~inPage) | (page & inPage);
        return this.#finish(at, low, allowed, noExecute < 0, frame, access);
      }
      this.#mark(at, low, Entry.A);
      tablePage = frameOf(low, high);
    }
  }

  /** 32-bit entries (5.2.2, 5.2.3). */
  #walkLegacy(page: number, access: SecondLevelAccess): number {
    const { words } = this.#memory;
    const pdeAt = ((this.#nCr3 & ~0xfff) >>> 2) + (page >>> 10);
    const pde = pdeAt < this.#memoryWords ? words[pdeAt] : 0;
    if ((pde & Entry.P) === 0) return this.#fault(access, 0);
    if (this.#has4MPages && (pde & Entry.PS) !== 0) {
      if ((pde & PDE_4M_RESERVED) !== 0) return this.#fault(access, NpfCode.P | NpfCode.RSV);
      const frame = (((pde >>> 13) & 0xff) << 20) | ((pde >>> 22) << 10) | (page & 0x3ff);
      return this.#finish(pdeAt, pde, pde, false, frame, access);
    }
    this.#mark(pdeAt, pde, Entry.A);
    const pteAt = (pde >>> 12) * WORDS_PER_PAGE + (page & 0x3ff);
    const pte = pteAt < this.#memoryWords ? words[pteAt] : 0;
    if ((pte & Entry.P) === 0) return this.#fault(access, 0);
    return this.#finish(pteAt, pte, pde & pte, false, pte >>> 12, access);
  }

  /** The last entry is found, at word `at`; `allowed` are RW and US of all. */
  #finish(
    at: number,
    low: number,
    allowed: number,
    noExecute: boolean,
    frame: number,
    access: SecondLevelAccess,
  ): number {
    const isWrite = access === 'write' || access === 'table' || access === 'tableWrite';
    const isRefused =
      (allowed & Entry.US) === 0 || (isWrite && (allowed & Entry.RW) === 0) || (access === 'execute' && noExecute);
    if (isRefused) return this.#fault(access, NpfCode.P);
    this.#mark(at, low, isWrite ? Entry.A | Entry.D : Entry.A);
    return frame;
  }

  #mark(at: number, low: number, bits: number): void {
    if ((low & bits) !== bits) this.#memory.write32(at * 4, (low | bits) >>> 0);
  }

  #fault(access: SecondLevelAccess, why: number): -1 {
    const what = access === 'read' ? 0 : access === 'execute' ? this.#fetchCode : NpfCode.RW;
    this.errorCode = NpfCode.US | what | why;
    return -1;
  }
}
