import {
  LargePage,
  type MemoryLayout,
  TLB_BANK_BYTES,
  TLB_BANKS,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_EXEC_ENTRIES,
  TLB_EXEC_OFFSET,
  TLB_LOG_ENTRIES,
  TLB_LOG_OFFSET,
  TLB_WRITE_OFFSET,
} from './layout.ts';

interface Bank {
  readonly host: number;
  key: number;
  lastUse: number;
  /** Memory as it was found: nothing in it means anything. */
  isNew: boolean;
  /** How many flushes of a page it has taken note of: see {@link TlbBanks.flushPage}. */
  flushesSeen: number;
}

/** Pages flushed of late that are remembered for banks that are not in use; a bank that has missed more of them is emptied. */
const PAGES_REMEMBERED = 256;

/**
 * TLB banks, one per address space and manner of access: page-table root, MMU flags and code mode make
 * the key, so that going back and forth between known roots loses nothing.
 */
export class TlbBanks {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #halfWords: Uint16Array;
  readonly #layout: MemoryLayout;
  readonly #banks: Bank[];
  readonly #byKey = new Map<number, Bank>();
  /** The two banks selected last: what goes back and forth between two roots finds them here. */
  #recent: Bank;
  #previous: Bank;
  #clock = 0;
  /** Changes when a bank is given to another key: addresses that {@link select} has answered may mean something else. */
  generation = 0;
  /** Pages flushed, by their count modulo PAGES_REMEMBERED. */
  readonly #pagesFlushed = new Int32Array(PAGES_REMEMBERED);
  #pageFlushes = 0;
  /** Banks emptied, for statistics. */
  flushes = 0;
  /** Copy within linear memory; generated code does it several times faster than a typed array on shared memory. */
  copy = (to: number, from: number, sizeBytes: number): void => {
    this.#bytes.copyWithin(to, from, from + sizeBytes);
  };

  constructor(buffer: ArrayBufferLike, layout: MemoryLayout, owner: { index: number; count: number }) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Int32Array(buffer);
    this.#halfWords = new Uint16Array(buffer);
    this.#layout = layout;
    const share = Math.floor(TLB_BANKS / owner.count);
    this.#banks = Array.from({ length: share }, (_, i) => ({
      host: layout.tlbBanks + (owner.index * share + i) * TLB_BANK_BYTES,
      key: -1,
      lastUse: 0,
      isNew: true,
      flushesSeen: 0,
    }));
    [this.#recent, this.#previous] = this.#banks;
    writeEmptyBank(this.#words, layout.emptyBank);
  }

  /** Host address of the bank for `key`; an unknown key gets the least recently used bank, emptied. */
  select(key: number): number {
    this.#clock++;
    const bank = this.#recent.key === key ? this.#recent : this.#find(key);
    bank.lastUse = this.#clock;
    if (bank.flushesSeen !== this.#pageFlushes) this.#catchUp(bank);
    return bank.host;
  }

  /** Make the bank for `key` the recent one. */
  #find(key: number): Bank {
    const recent = this.#recent;
    this.#recent = this.#previous.key === key ? this.#previous : this.#lookUp(key);
    this.#previous = recent;
    return this.#recent;
  }

  #lookUp(key: number): Bank {
    let bank = this.#byKey.get(key);
    if (!bank) {
      bank = this.#banks[0];
      for (const candidate of this.#banks) if (candidate.lastUse < bank.lastUse) bank = candidate;
      if (bank.key >= 0) this.#byKey.delete(bank.key);
      bank.key = key;
      this.generation++;
      this.#byKey.set(key, bank);
      this.#empty(bank);
      bank.flushesSeen = this.#pageFlushes;
    }
    return bank;
  }

  /** Only what was filled is emptied, as long as the bank knows what that is. */
  #empty(bank: Bank): void {
    this.flushes++;
    const words = this.#words;
    const log = (bank.host + TLB_LOG_OFFSET) >>> 2;
    const count = words[log];
    if (count >= TLB_LOG_ENTRIES || bank.isNew) {
      this.copy(bank.host, this.#layout.emptyBank, TLB_BANK_BYTES);
      bank.isNew = false;
      return;
    }
    const offsets = (bank.host + TLB_LOG_OFFSET + 4) >>> 1;
    for (let i = 0; i < count; i++) {
      const offset = this.#halfWords[offsets + i] * TLB_ENTRY_BYTES;
      const from = (this.#layout.emptyBank + offset) >>> 2;
      const to = (bank.host + offset) >>> 2;
      words[to] = words[from];
      words[to + 1] = words[from + 1];
      words[to + 2] = 0;
    }
    words[log] = 0;
  }

  /** Forget every translation. The caller selects its bank anew. */
  flushAll(): void {
    for (const bank of this.#byKey.values()) {
      bank.key = -1;
      bank.lastUse = 0;
    }
    this.#byKey.clear();
    this.generation++;
  }

  /** Forget what banks whose key satisfies `matches` hold. */
  flushMatching(matches: (key: number) => boolean): void {
    for (const [key, bank] of this.#byKey) if (matches(key)) this.#empty(bank);
  }

  /**
   * Forget one page, by its virtual page number's low 32 bits, in every bank: in those that generated code can come to by itself at once,
   * in the others when they are selected.
   * @param atHand host addresses of the former, or 0; undefined: all banks are
   */
  flushPage(virtualPageLow: number, atHand?: Int32Array): void {
    if (!atHand) {
      for (const bank of this.#byKey.values()) this.#emptyPage(bank, virtualPageLow);
      return;
    }
    this.#pagesFlushed[this.#pageFlushes % PAGES_REMEMBERED] = virtualPageLow;
    this.#pageFlushes++;
    for (const host of atHand) {
      const bank = host === 0 ? undefined : this.#banks[(host - this.#banks[0].host) / TLB_BANK_BYTES];
      if (bank && bank.flushesSeen !== this.#pageFlushes) this.#catchUp(bank);
    }
  }
  /** Forget what has been flushed since the bank was last looked after. */
  #catchUp(bank: Bank): void {
    const missed = this.#pageFlushes - bank.flushesSeen;
    if (missed > PAGES_REMEMBERED) this.#empty(bank);
    else
      for (let i = bank.flushesSeen; i < this.#pageFlushes; i++)
        this.#emptyPage(bank, this.#pagesFlushed[i % PAGES_REMEMBERED]);
    bank.flushesSeen = this.#pageFlushes;
  }
  #emptyPage(bank: Bank, virtualPageLow: number): void {
    const data = (virtualPageLow & (TLB_ENTRIES - 1)) * TLB_ENTRY_BYTES;
    const code = TLB_EXEC_OFFSET + (virtualPageLow & (TLB_EXEC_ENTRIES - 1)) * TLB_ENTRY_BYTES;
    const tag = virtualPageLow << 12;
    this.#emptyIf(tag, bank, data);
    this.#emptyIf(tag, bank, TLB_WRITE_OFFSET + data);
    this.#emptyIf(tag, bank, code);
  }
  #emptyIf(tag: number, bank: Bank, entry: number): void {
    if (this.#words[(bank.host + entry) >>> 2] === tag) this.#emptyEntry(bank, entry);
  }

  /**
   * Forget the large page around an address: the TLB holds it in pieces of 4 KiB, and INVLPG drops them all
   * (SDM vol. 3A, 4.10.2.3).
   */
  flushLargePage(virtualPageLow: number, sizes: number): void {
    const pages = sizes & LargePage.MIB4 ? 1024 : 512;
    const first = (virtualPageLow & (TLB_ENTRIES - 1) & ~(pages - 1)) * TLB_ENTRY_BYTES;
    const empty = this.#layout.emptyBank;
    const copy = (bank: Bank, offset: number, sizeBytes: number) =>
      this.copy(bank.host + offset, empty + offset, sizeBytes);
    for (const bank of this.#byKey.values()) {
      if (sizes & LargePage.GIB1) {
        this.#empty(bank);
        continue;
      }
      copy(bank, first, pages * TLB_ENTRY_BYTES);
      copy(bank, TLB_WRITE_OFFSET + first, pages * TLB_ENTRY_BYTES);
      copy(bank, TLB_EXEC_OFFSET, TLB_EXEC_ENTRIES * TLB_ENTRY_BYTES);
    }
  }

  /** Forget write translations that lead to this host page: it has become a code page. */
  forbidWrites(hostPage: number): void {
    for (const bank of this.#byKey.values()) {
      const log = (bank.host + TLB_LOG_OFFSET) >>> 2;
      const count = this.#words[log];
      if (count < TLB_LOG_ENTRIES) {
        // As in most banks, little has been filled.
        const entries = (log + 1) * 2;
        for (let i = 0; i < count; i++)
          this.#forbidWrite(bank, this.#halfWords[entries + i] * TLB_ENTRY_BYTES, hostPage);
      } else
        for (let i = 0; i < TLB_ENTRIES; i++) this.#forbidWrite(bank, TLB_WRITE_OFFSET + i * TLB_ENTRY_BYTES, hostPage);
    }
  }
  #forbidWrite(bank: Bank, offset: number, hostPage: number): void {
    const at = (bank.host + offset) >>> 2;
    // Where it leads: its page's address and the distance from there.
    const leadsTo = (this.#words[at] + this.#words[at + 2]) | 0;
    if (leadsTo === hostPage && offset >= TLB_WRITE_OFFSET && offset < TLB_EXEC_OFFSET) this.#emptyEntry(bank, offset);
  }

  /** Forget all code look-ups in every bank. */
  flushCode(): void {
    for (const bank of this.#byKey.values()) {
      const from = this.#layout.emptyBank + TLB_EXEC_OFFSET;
      this.#bytes.copyWithin(bank.host + TLB_EXEC_OFFSET, from, from + TLB_EXEC_ENTRIES * TLB_ENTRY_BYTES);
    }
  }

  #emptyEntry(bank: Bank, offset: number): void {
    const from = (this.#layout.emptyBank + offset) >>> 2;
    this.#words.copyWithin((bank.host + offset) >>> 2, from, from + 4);
  }
}

/** An empty entry's tag names a page that belongs to another entry, so that it never matches in its place. */
function writeEmptyBank(words: Int32Array, host: number): void {
  const fill = (offset: number, entries: number) => {
    for (let i = 0; i < entries; i++) {
      const at = (host + offset + i * TLB_ENTRY_BYTES) >>> 2;
      words[at] = (i ^ 1) << 12;
      words.fill(0, at + 1, at + 4);
    }
  };
  fill(0, TLB_ENTRIES);
  fill(TLB_WRITE_OFFSET, TLB_ENTRIES);
  fill(TLB_EXEC_OFFSET, TLB_EXEC_ENTRIES);
}
