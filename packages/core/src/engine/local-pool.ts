import type { WasmType } from './wasm.ts';

/** Locals of a function, handed out by type. */
export class LocalPool {
  readonly types: WasmType[];
  readonly #first: number;
  readonly #free = new Map<WasmType, number[]>();
  constructor(first: number, fixed: readonly WasmType[]) {
    this.#first = first;
    this.types = [...fixed];
  }
  allocate(type: WasmType): number {
    const free = this.#free.get(type)?.pop();
    if (free !== undefined) return free;
    this.types.push(type);
    return this.#first + this.types.length - 1;
  }
  release(type: WasmType, local: number): void {
    const free = this.#free.get(type);
    if (free) free.push(local);
    else this.#free.set(type, [local]);
  }
}
