import type { DirectState } from '@polyvisor/plugin-api';
import { CELLS } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import type { TranslationBuffer } from './translation-buffer.ts';

/** What a plug-in's code in generated code knows of a vCPU: slots of its state block. */
export class VcpuDirectState implements DirectState {
  readonly cells: Int32Array;
  readonly #engine: Engine;
  readonly #tlb: TranslationBuffer;

  constructor(engine: Engine, tlb: TranslationBuffer) {
    this.#engine = engine;
    this.#tlb = tlb;
    this.cells = new Int32Array(engine.memory.view.buffer, engine.base + CELLS[0].offset, CELLS.length * 2);
  }

  setPlace(cell: number, gpa: number | undefined): void {
    const { layout } = this.#engine.memory;
    if (gpa !== undefined && !(gpa >= 0 && gpa < layout.ramSizeBytes)) throw new RangeError(`no memory at ${gpa}`);
    this.cells[2 * cell] = gpa === undefined ? 0 : layout.ram + gpa;
    this.cells[2 * cell + 1] = 0;
  }

  setRoots(roots: readonly [first: bigint, second: bigint] | undefined): void {
    this.#tlb.setRoots(roots);
  }
}
