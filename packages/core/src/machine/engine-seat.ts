import { BUDGET, REGION_ENTRIES, REGION_INSTRUCTIONS, type Slot, STATE_SIZE_BYTES, TLB_FILLS } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { LARGE_PAGES_OFFSET, stateBase } from '../memory/layout.ts';
import { BankKeys } from './mmu-state.ts';

/** What the seat needs of a vCPU. */
interface Sitter {
  readonly id: number;
  /** Its state block has been copied to another place. */
  moveTo(base: number): void;
  /** Choose the engine's mode and TLB bank by its state. */
  updateMmu(): void;
}

/** Words of the engine's own in the state block that it works on: they stay as vCPUs come and go. */
const ENGINE_WORDS = [
  BUDGET.offset >>> 2,
  ...[REGION_INSTRUCTIONS, REGION_ENTRIES, TLB_FILLS].flatMap(({ offset }: Slot) => [offset >>> 2, (offset >>> 2) + 1]),
  LARGE_PAGES_OFFSET >>> 2,
];

/**
 * Which vCPU the one engine runs. Generated code knows one state block, by its address; the other vCPUs' blocks lie at homes of
 * their own, and are copied when their turn comes. So all vCPUs share decoded and compiled code and the TLB banks, whose keys say
 * what a translation depends on. A vCPU that is alone has its block in the engine's place for good.
 */
export class EngineSeat<V extends Sitter> {
  readonly engine: Engine;
  /** Keys of the banks that all share. */
  readonly keys: BankKeys;
  readonly isShared: boolean;
  #holder: V | undefined;
  readonly #kept = new Int32Array(ENGINE_WORDS.length);
  /** A vCPU that does not run has been kicked since the one that runs had its turn. */
  othersKicked = false;

  /** @param vcpus how many there will be */
  constructor(engine: Engine, vcpus = 1) {
    this.engine = engine;
    this.isShared = vcpus > 1;
    this.keys = new BankKeys(() => engine.banks.flushAll(), this.isShared);
  }

  /** Where a vCPU's state block lies while the engine runs another. */
  home(id: number): number {
    return this.isShared ? stateBase(id + 1) : this.engine.base;
  }
  isHeldBy(vcpu: V): boolean {
    return this.#holder === vcpu || !this.isShared;
  }
  get holder(): V | undefined {
    return this.#holder;
  }

  /** The engine works on this vCPU's state from now on; answers which one it was before. Outside of guest code. */
  take(vcpu: V): V | undefined {
    const before = this.#holder;
    if (before === vcpu) return before;
    this.#holder = vcpu;
    if (!this.isShared) return before;
    const { base } = this.engine;
    const { bytes, words } = this.engine.memory;
    const at = base >>> 2;
    ENGINE_WORDS.forEach((word, i) => {
      this.#kept[i] = words[at + word];
    });
    if (before) {
      bytes.copyWithin(this.home(before.id), base, base + STATE_SIZE_BYTES);
      before.moveTo(this.home(before.id));
    }
    const home = this.home(vcpu.id);
    bytes.copyWithin(base, home, home + STATE_SIZE_BYTES);
    ENGINE_WORDS.forEach((word, i) => {
      words[at + word] = this.#kept[i];
    });
    vcpu.moveTo(base);
    vcpu.updateMmu();
    return before;
  }

  /** Do something that needs the engine to work on a vCPU's state, though another may be running. */
  lend<T>(vcpu: V, use: () => T): T {
    const before = this.take(vcpu);
    try {
      return use();
    } finally {
      if (before) this.take(before);
    }
  }

  /** Banks have been emptied, or lost their keys: what runs takes one anew. */
  chooseBank(): void {
    this.#holder?.updateMmu();
  }
}
