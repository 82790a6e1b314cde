import { CR4, LEVELS, type Level } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { MmuFlag } from '../memory/walk.ts';
import { ADDRESS_SPACES, type BankKeys, bankKey } from './mmu-state.ts';

/** How many manners of access a root has there. */
export const LEVEL_COUNT = Object.keys(LEVELS).length;
const CR4_SMAP = 1 << 21;
const MODES = 8;
const { USER, SMAP } = MmuFlag;

/**
 * The TLB banks between which generated code goes by itself when it changes level within a code mode: those of one root, for each
 * way to access memory.
 */
export class LevelBanks {
  readonly #engine: Engine;
  readonly #keys: BankKeys;
  /** What the slots were filled for. */
  #root = -1;
  #others = -1;
  #generation = -1;

  constructor(engine: Engine, keys: BankKeys) {
    this.#engine = engine;
    this.#keys = keys;
  }

  /** No level's bank is known. */
  forget(): void {
    if (this.#root === -1) return;
    for (const { bank } of Object.values(LEVELS))
      this.#engine.memory.view.setInt32(this.#engine.base + bank.offset, 0, true);
    this.#root = -1;
  }

  /** Fill the slots of {@link LEVELS} for a root, these MMU flags and the mode of this number. */
  update(root: number, flags: number, mode: number): void {
    const { banks } = this.#engine;
    const shared = flags & ~(USER | SMAP);
    const others = (shared * ADDRESS_SPACES + this.#keys.addressSpace) * MODES + mode;
    if (root === this.#root && others === this.#others && banks.generation === this.#generation) return;
    const { view } = this.#engine.memory;
    const smap = view.getInt32(this.#engine.base + CR4.offset, true) & CR4_SMAP ? SMAP : 0;
    const fill = (level: Level, levelFlags: number) => {
      const key = bankKey(root, this.#keys.manner(levelFlags, mode));
      view.setInt32(this.#engine.base + LEVELS[level].flags.offset, levelFlags, true);
      view.setInt32(this.#engine.base + LEVELS[level].bank.offset, banks.select(key), true);
    };
    fill('user', shared | USER | smap);
    fill('open', shared);
    fill('kernel', shared | smap);
    this.#root = root;
    this.#others = others;
    this.#generation = banks.generation;
  }
}
