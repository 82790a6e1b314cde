import { ROOTS } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import { bankKey, rootNumber } from './mmu-state.ts';

/** The TLB banks of two page-table roots between which generated code goes by itself, in one manner of access. */
export class RootBanks {
  readonly #engine: Engine;
  #roots: readonly [bigint, bigint] | undefined;
  /** What the slots were filled for. */
  #manner = -1;
  #generation = -1;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  set(roots: readonly [bigint, bigint] | undefined): void {
    this.#roots = roots;
    this.#generation = -1;
    const { view } = this.#engine.memory;
    for (const { bank } of ROOTS) view.setInt32(this.#engine.base + bank.offset, 0, true);
  }

  /** Fill the slots of ROOTS for these MMU flags and this manner of access. */
  update(flags: number, manner: number): void {
    const { banks, memory, base } = this.#engine;
    if (!this.#roots || (manner === this.#manner && banks.generation === this.#generation)) return;
    this.#roots.forEach((cr3, index) => {
      const key = bankKey(rootNumber(Number(cr3 & 0xffff_ffffn), Number(cr3 >> 32n), flags), manner);
      memory.view.setBigInt64(base + ROOTS[index].cr3.offset, BigInt.asIntN(64, cr3), true);
      memory.view.setInt32(base + ROOTS[index].bank.offset, banks.select(key), true);
    });
    this.#manner = manner;
    this.#generation = banks.generation;
  }
}
