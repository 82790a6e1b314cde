import type { VirtualAccessOptions } from '@polyvisor/plugin-api';
import { MMU_FLAGS, TLB } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { WALK_FAULT, WALK_MMIO } from '../engine/memory-code.ts';
import { TLB_INDEX_MASK, TLB_WRITE_OFFSET } from '../memory/layout.ts';
import { MmuFlag, WalkAccess } from '../memory/walk.ts';

/** Flags that do not hold for the supervisor's own accesses. */
export const SUPERVISOR_CLEARS = MmuFlag.USER | MmuFlag.SMAP | MmuFlag.SMEP;

/** Answers of {@link WordAccess.place}: no access (a fault, or device memory); not words within one page. */
export const NO_WORDS = 0;
const ODD_WORDS = -1;

/** Words of guest memory by virtual address, for hot paths: numbers in, numbers out, through the TLB. */
export class WordAccess {
  readonly #engine: Engine;
  readonly #words: Int32Array;
  readonly #tlb: number;
  readonly #mmuFlags: number;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#words = engine.memory.words;
    this.#tlb = (engine.base + TLB.offset) >>> 2;
    this.#mmuFlags = (engine.base + MMU_FLAGS.offset) >>> 2;
  }

  /** Host address of `count` words within one page, {@link NO_WORDS} or {@link ODD_WORDS}. */
  place(low: number, high: number, count: number, access: number, options: VirtualAccessOptions | undefined): number {
    const offset = low & 0xfff;
    if (offset & 3 || offset + count * 4 > 4096) return ODD_WORDS;
    const host = this.#hostPage(low, high, access, options?.as);
    return host === WALK_FAULT || host === WALK_MMIO ? NO_WORDS : host + offset;
  }

  load(host: number, into: Int32Array, count: number): true {
    const words = this.#words;
    const first = host >>> 2;
    for (let i = 0; i < count; i++) into[i] = words[first + i];
    return true;
  }
  store(host: number, from: Int32Array, count: number): true {
    const words = this.#words;
    const first = host >>> 2;
    for (let i = 0; i < count; i++) words[first + i] = from[i];
    this.#engine.code.written(host, count * 4);
    return true;
  }

  /**
   * From the TLB, else by a walk, with its answers. What the TLB holds the current level may do, and so may the
   * supervisor; what a user may do is asked by a walk always.
   */
  #hostPage(low: number, high: number, access: number, as: VirtualAccessOptions['as']): number {
    const words = this.#words;
    if (as !== 'user') {
      const bank = words[this.#tlb] + (access === WalkAccess.write ? TLB_WRITE_OFFSET : 0);
      const entry = (bank + ((low >>> 8) & TLB_INDEX_MASK)) >>> 2;
      if (words[entry] === (low & ~0xfff) && words[entry + 1] === high) return (words[entry] + words[entry + 2]) >>> 0;
    }
    const flags = words[this.#mmuFlags];
    if (as === undefined || (as === 'supervisor' && (flags & SUPERVISOR_CLEARS) === 0)) {
      // What the guest's own code would find next, the TLB holds from now on: generated code of plug-ins looks nowhere else.
      const host = access === WalkAccess.execute ? 0 : this.#engine.fill(low, high, access === WalkAccess.write);
      return host !== 0 ? host : this.#engine.walkHalves(low, high, access);
    }
    words[this.#mmuFlags] = as === 'user' ? flags | MmuFlag.USER : flags & ~SUPERVISOR_CLEARS;
    const host = this.#engine.walkHalves(low, high, access);
    words[this.#mmuFlags] = flags;
    return host;
  }
}
