import { CR3, MMU_FLAGS, ROOTS, TLB } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { type CpuMode, modeFacts } from '../isa/modes.ts';
import { LARGE_PAGE_MAP_BYTES, LARGE_PAGES_OFFSET, LargePage, largePageMap } from '../memory/layout.ts';
import { LEVEL_COUNT, LevelBanks } from './level-banks.ts';
import { BankKeys, bankKey, rootNumber, rootOfKey } from './mmu-state.ts';
import { RootBanks } from './root-banks.ts';

/** A vCPU's TLB: which bank is in use, by CR3, MMU_FLAGS and the code mode, and what is dropped when. */
export class TranslationBuffer {
  readonly #engine: Engine;
  readonly #keys: BankKeys;
  readonly #levels: LevelBanks;
  readonly #roots: RootBanks;
  /** Where CR3, MMU_FLAGS and TLB stand, as indices of words. */
  readonly #at: { readonly cr3: number; readonly flags: number; readonly bank: number };
  #holdsAllLevels: readonly CpuMode[] = [];

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#keys = new BankKeys(() => engine.banks.flushAll());
    this.#levels = new LevelBanks(engine, this.#keys);
    this.#roots = new RootBanks(engine);
    const word = ({ offset }: { offset: number }) => (engine.base + offset) >>> 2;
    this.#at = { cr3: word(CR3), flags: word(MMU_FLAGS), bank: word(TLB) };
  }

  /**
   * In which modes the banks of all levels are kept at hand ({@link LevelBanks}), from the next {@link select} on. Where generated
   * code may not change levels, they would be made in vain.
   */
  set holdsAllLevels(modes: readonly CpuMode[]) {
    this.#holdsAllLevels = modes;
    this.#levels.forget();
  }

  /** The roots that generated code goes between by itself, in halves; see ROOTS. */
  setRoots(roots: readonly [first: bigint, second: bigint] | undefined): void {
    this.#roots.set(roots);
    this.select();
  }

  /** Take the bank that belongs to the present state. */
  select(): void {
    const { memory, mode, banks } = this.#engine;
    const root = this.#root();
    const flags = memory.words[this.#at.flags];
    this.#keys.makeRoom(1 + LEVEL_COUNT + ROOTS.length);
    const { number } = modeFacts(mode);
    if (this.#holdsAllLevels.includes(mode)) this.#levels.update(root, flags, number);
    else this.#levels.forget();
    const manner = this.#keys.manner(flags, number);
    this.#roots.update(flags, manner);
    memory.words[this.#at.bank] = banks.select(bankKey(root, manner));
  }
  #root(): number {
    const { words } = this.#engine.memory;
    const { cr3, flags } = this.#at;
    return rootNumber(words[cr3] >>> 0, words[cr3 + 1] >>> 0, words[flags]);
  }

  /** Drop what the present root has. */
  flushRoot(): void {
    const root = this.#root();
    this.#engine.banks.flushMatching((key) => rootOfKey(key) === root);
  }
  /** Drop everything; the caller takes a bank anew. */
  flush(): void {
    const { memory, base, banks } = this.#engine;
    memory.view.setInt32(base + LARGE_PAGES_OFFSET, 0, true);
    const map = largePageMap(memory.layout, base);
    memory.bytes.fill(0, map, map + LARGE_PAGE_MAP_BYTES);
    banks.flushAll();
  }
  /** INVLPG: drop the page around an address in every address space. */
  flushPage(gva: bigint): void {
    const { memory, base, banks } = this.#engine;
    const page = Number((gva >> 12n) & 0x7fffffffn);
    const sizes = memory.view.getInt32(base + LARGE_PAGES_OFFSET, true);
    if (sizes && this.#mayBeLarge(page, sizes)) banks.flushLargePage(page, sizes);
    else banks.flushPage(page);
  }
  /** Whether the TLB may hold a part of a large page around a page. */
  #mayBeLarge(page: number, sizes: number): boolean {
    if (sizes & LargePage.GIB1) return true;
    const { memory, base } = this.#engine;
    const map = largePageMap(memory.layout, base);
    const index = (page >>> 9) & (LARGE_PAGE_MAP_BYTES - 1);
    return memory.bytes[map + index] !== 0 || ((sizes & LargePage.MIB4) !== 0 && memory.bytes[map + (index ^ 1)] !== 0);
  }
}
