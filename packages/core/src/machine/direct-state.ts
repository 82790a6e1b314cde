import type { DirectState } from '@polyvisor/plugin-api';
import { CELLS } from '../cpu/state.ts';
import type { Engine } from '../engine/engine.ts';
import type { TranslationBuffer } from './translation-buffer.ts';

/** What a plug-in's code in generated code knows of a vCPU: slots of its state block. */
export class VcpuDirectState implements DirectState {
  cells: Int32Array;
  readonly #engine: Engine;
  readonly #tlb: TranslationBuffer;
  readonly #views = new Map<number, Int32Array>();
  readonly #seated: (use: () => void) => void;

  /**
   * @param base where the state block begins
   * @param seated does what needs the engine to work on that
   */
  constructor(engine: Engine, tlb: TranslationBuffer, base: number, seated: (use: () => void) => void) {
    this.#seated = seated;
    this.#engine = engine;
    this.#tlb = tlb;
    this.cells = this.#cellsAt(base);
  }

  #cellsAt(base: number): Int32Array {
    let cells = this.#views.get(base);
    if (!cells) {
      const { buffer } = this.#engine.memory.view;
      cells = new Int32Array(buffer, base + CELLS[0].offset, CELLS.length * 2);
      this.#views.set(base, cells);
    }
    return cells;
  }
  /** The state block begins somewhere else from now on. */
  moveTo(base: number): void {
    this.cells = this.#cellsAt(base);
  }

  setPlace(cell: number, gpa: number | undefined): void {
    const { layout } = this.#engine.memory;
    if (gpa !== undefined && !(gpa >= 0 && gpa < layout.ramSizeBytes)) throw new RangeError(`no memory at ${gpa}`);
    this.cells[2 * cell] = gpa === undefined ? 0 : layout.ram + gpa;
    this.cells[2 * cell + 1] = 0;
  }

  setRoots(roots: readonly [first: bigint, second: bigint] | undefined): void {
    this.#seated(() => this.#tlb.setRoots(roots));
  }
}
