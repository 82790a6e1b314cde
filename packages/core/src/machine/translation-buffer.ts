import { CR3, LEVELS, MMU_FLAGS, ROOTS, TLB } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { type CpuMode, modeFacts } from '../isa/modes.ts';
import {
  LARGE_PAGE_INDEX_MASK,
  LARGE_PAGE_NUMBER_MASK,
  LARGE_PAGES_OFFSET,
  LargePage,
  largePageMap,
  largePageTag,
  MANY_LARGE_PAGES,
} from '../memory/layout.ts';
import { LEVEL_COUNT, LevelBanks } from './level-banks.ts';
import { type BankKeys, bankKey, rootNumber, rootOfKey } from './mmu-state.ts';
import { ProcessContexts } from './process-contexts.ts';
import { RootBanks } from './root-banks.ts';

/** Where generated code finds banks: the one in use, and those that it takes when it changes the level or the root. */
const BANK_SLOTS = [TLB, ...Object.values(LEVELS).map(({ bank }) => bank), ...ROOTS.map(({ bank }) => bank)];
const banksAtHand = new Int32Array(BANK_SLOTS.length);

/** A vCPU's TLB: which bank is in use, by CR3, MMU_FLAGS and the code mode, and what is dropped when. */
export class TranslationBuffer {
  readonly #engine: Engine;
  readonly #keys: BankKeys;
  readonly #vcpu: number;
  readonly #levels: LevelBanks;
  readonly #roots: RootBanks;
  readonly #contexts = new ProcessContexts();
  /** Where CR3, MMU_FLAGS and TLB stand, as indices of words. */
  readonly #at: { readonly cr3: number; readonly flags: number; readonly bank: number };
  #holdsAllLevels: readonly CpuMode[] = [];

  /** {@link Assist.addressSpace}; from the next {@link select} on. */
  addressSpace = 0;

  /** @param keys of the engine's banks, which all its vCPUs use */
  constructor(engine: Engine, keys: BankKeys, vcpu: number) {
    this.#engine = engine;
    this.#keys = keys;
    this.#vcpu = vcpu;
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
    this.#keys.vcpu = this.#vcpu;
    this.#keys.addressSpace = this.addressSpace;
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

  /** CR3 has been written, as the root of a process context: drop what the TLB has of that, unless it `keeps` it. */
  enter(pcid: number, keeps: boolean): void {
    const root = this.#root();
    if (this.#contexts.enter(pcid, root) && keeps) return;
    this.#flushRoot(root);
  }
  /** Drop what a process context has (INVPCID, type 1). */
  flushContext(pcid: number): void {
    const root = this.#contexts.rootOf(pcid);
    if (root !== undefined) this.#flushRoot(root);
  }
  #flushRoot(root: number): void {
    this.#engine.banks.flushMatching((key) => rootOfKey(key) === root);
  }
  /** Drop everything; the caller takes a bank anew. */
  flush(): void {
    const { memory, base, banks } = this.#engine;
    const sizes = (base + LARGE_PAGES_OFFSET) >>> 2;
    // Without large pages there is nothing in the map.
    if (memory.words[sizes] !== 0) {
      memory.words[sizes] = 0;
      const map = largePageMap(memory.layout, base) >>> 2;
      memory.words.fill(0, map, map + LARGE_PAGE_INDEX_MASK + 1);
    }
    banks.flushAll();
  }
  /** INVLPG: drop the page around an address, given in halves, in every address space. */
  flushPage(low: number, high: number): void {
    const { memory, base, banks } = this.#engine;
    const page = ((low >>> 12) | (high << 20)) & 0x7fffffff;
    const sizes = memory.view.getInt32(base + LARGE_PAGES_OFFSET, true);
    const number = (page >>> 9) & LARGE_PAGE_NUMBER_MASK;
    // Pages of 4 MiB are two in the map.
    const numbers = sizes & LargePage.MIB4 ? [number, number ^ 1] : [number];
    const isLarge = sizes !== 0 && (sizes & LargePage.GIB1 || numbers.some((each) => this.#mayBeLarge(each)));
    if (!isLarge) {
      banks.flushPage(page, this.#banksAtHand());
      return;
    }
    banks.flushLargePage(page, sizes);
    for (const each of numbers) this.#noneIsLeft(each);
  }
  /** Banks that generated code may use without asking. Those of several vCPUs are all: each has its own in its state block. */
  #banksAtHand(): Int32Array | undefined {
    if (this.#keys.isShared) return undefined;
    const { words } = this.#engine.memory;
    BANK_SLOTS.forEach((slot, i) => {
      banksAtHand[i] = words[(this.#engine.base + slot.offset) >>> 2];
    });
    return banksAtHand;
  }
  /** Whether the TLB may hold a part of a large page from the 2 MiB with this number. */
  #mayBeLarge(number: number): boolean {
    const held = this.#engine.memory.words[this.#largePageAt(number)];
    return held === largePageTag(number) || held === MANY_LARGE_PAGES;
  }
  /** It holds none any more. */
  #noneIsLeft(number: number): void {
    const { words } = this.#engine.memory;
    const at = this.#largePageAt(number);
    if (words[at] === largePageTag(number)) words[at] = 0;
  }
  #largePageAt(number: number): number {
    const { memory, base } = this.#engine;
    return (largePageMap(memory.layout, base) >>> 2) + (number & LARGE_PAGE_INDEX_MASK);
  }
}
