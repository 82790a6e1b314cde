/** Extended page tables: from guest-physical to machine addresses (SDM vol. 3C, 28.3). Physical addresses have 40 bits. */
import type { GuestMemory, SecondLevel, SecondLevelAccess } from '@polyvisor/plugin-api';

/** The EPT pointer (24.6.11). */
const Eptp = { TYPE_MASK: 7n, WALK_SHIFT: 3n, WALK_MASK: 7n, DIRTY: 1n << 6n, RESERVED: 0xf80n } as const;
const MemoryType = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6 } as const;
const LEAF_TYPES: ReadonlySet<number> = new Set(Object.values(MemoryType));
const WALK_OF_4_LEVELS = 3n;
const PHYSICAL_ADDRESS_BITS = 40n;

/** Whether VM entry and INVEPT take it: UC or WB, four levels, nothing reserved. */
export function isLegalEptPointer(eptp: bigint): boolean {
  const type = Number(eptp & Eptp.TYPE_MASK);
  if (type !== MemoryType.UC && type !== MemoryType.WB) return false;
  if (((eptp >> Eptp.WALK_SHIFT) & Eptp.WALK_MASK) !== WALK_OF_4_LEVELS) return false;
  return (eptp & Eptp.RESERVED) === 0n && eptp >> PHYSICAL_ADDRESS_BITS === 0n;
}

/** Low half of an entry (tables 28-1 to 28-7). Without one of R, W and X it is not present. */
export const EptEntry = { R: 1, W: 2, X: 4, TYPE_SHIFT: 3, PAGE: 0x80, A: 0x100, D: 0x200 } as const;
const RIGHTS = EptEntry.R | EptEntry.W | EptEntry.X;
/** Bits 51:40, in the upper half. */
const HIGH_RESERVED = 0x000f_ff00;
/** Reserved bits of the low half by level: of an entry that leads to a table, and of one for a page. */
const TABLE_RESERVED = [0, 0x78, 0x78, 0xf8];
const PAGE_RESERVED = [0, 0x001f_f000, 0x3fff_f000, 0];

/** Exit qualification of an EPT violation (table 27-7). */
export const Violation = {
  ...{ RIGHTS_SHIFT: 3, LINEAR_VALID: 1 << 7, FINAL: 1 << 8 },
} as const;

const PML4 = 3;
const PDPT = 2;
const WORDS_PER_PAGE = 1024;
const GUEST_PAGES = 2 ** 28;

/** The page number that an entry has: bits 39:12. */
const frameOf = (low: number, high: number): number => ((high & 0xff) << 20) | (low >>> 12);

/**
 * The tables of one EPT pointer. With accessed and dirty flags an access to the guest's page tables is one that writes (28.3.3.2), without
 * them only where it marks the guest's entry. A table beyond memory is one that is not present; a page may be beyond it.
 */
export class ExtendedPageTables implements SecondLevel {
  /** Of the last {@link translate} that answered -1: the qualification of an EPT violation less LINEAR_VALID and FINAL; `undefined`: a misconfiguration. */
  violation: number | undefined;
  readonly #memory: GuestMemory;
  readonly #root: number;
  readonly #setsFlags: boolean;
  readonly #memoryWords: number;

  constructor(memory: GuestMemory, eptp: bigint) {
    this.#memory = memory;
    this.#root = Number(eptp >> 12n);
    this.#setsFlags = (eptp & Eptp.DIRTY) !== 0n;
    this.#memoryWords = memory.sizeBytes / 4;
  }

  /** `page`: guest-physical address divided by 4,096, at most 32 bits. The machine's page, or -1 and {@link violation}. */
  translate(page: number, access: SecondLevelAccess): number {
    if (page >>> 0 >= GUEST_PAGES) return this.#violates(access, 0);
    const { words } = this.#memory;
    let allowed: number = RIGHTS;
    for (let level = PML4, tablePage = this.#root; ; level--) {
      const at = tablePage * WORDS_PER_PAGE + ((page >>> (9 * level)) & 511) * 2;
      if (at >= this.#memoryWords) return this.#violates(access, 0);
      const low = words[at];
      const high = words[at + 1];
      if ((low & RIGHTS) === 0) return this.#violates(access, 0);
      const isPage = level === 0 || (level <= PDPT && (low & EptEntry.PAGE) !== 0);
      if (isMisconfigured(low, high, level, isPage)) {
        this.violation = undefined;
        return -1;
      }
      allowed &= low;
      if (!isPage) {
        this.#mark(at, low, EptEntry.A);
        tablePage = frameOf(low, high);
        continue;
      }
      const needed = this.#neededFor(access);
      if ((needed & ~allowed) !== 0) return this.#violates(access, allowed);
      this.#mark(at, low, needed & EptEntry.W ? EptEntry.A | EptEntry.D : EptEntry.A);
      const inPage = (1 << (9 * level)) - 1;
      return (frameOf(low, high) & ~inPage) | (page & inPage);
    }
  }

  #mark(at: number, low: number, bits: number): void {
    if (this.#setsFlags && (low & bits) !== bits) this.#memory.write32(at * 4, (low | bits) >>> 0);
  }
  #neededFor(access: SecondLevelAccess): number {
    return access === 'table' && this.#setsFlags ? NEEDED.tableWrite : NEEDED[access];
  }
  /** R, W and X are the bits of read, write and fetch, too. */
  #violates(access: SecondLevelAccess, allowed: number): -1 {
    this.violation = this.#neededFor(access) | (allowed << Violation.RIGHTS_SHIFT);
    return -1;
  }
}

/** Writable and not readable, reserved bits, or a reserved memory type of a page (28.3.3.1). */
function isMisconfigured(low: number, high: number, level: number, isPage: boolean): boolean {
  if ((low & (EptEntry.R | EptEntry.W)) === EptEntry.W || (high & HIGH_RESERVED) !== 0) return true;
  if (!isPage) return (low & TABLE_RESERVED[level]) !== 0;
  return (low & PAGE_RESERVED[level]) !== 0 || !LEAF_TYPES.has((low >>> EptEntry.TYPE_SHIFT) & 7);
}

const NEEDED = {
  ...{ read: EptEntry.R, write: EptEntry.W, execute: EptEntry.X, table: EptEntry.R },
  tableWrite: EptEntry.R | EptEntry.W,
} as const satisfies Readonly<Record<SecondLevelAccess, number>>;
