import { layoutFor, type MemoryLayout } from '../memory/layout.ts';
import { memoryPages } from './interpreter.ts';

/** Linear memory and what lies where; shared by all vCPUs of a machine. */
export class EngineMemory {
  readonly layout: MemoryLayout;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly words: Int32Array;

  constructor(ramSizeBytes: number) {
    this.layout = layoutFor(ramSizeBytes);
    this.memory = new WebAssembly.Memory({ ...memoryPages(this.layout), shared: true });
    this.bytes = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.words = new Int32Array(this.memory.buffer);
  }

  /** Guest-physical memory. */
  get ram(): Uint8Array {
    const { ram, ramSizeBytes } = this.layout;
    return this.bytes.subarray(ram, ram + ramSizeBytes);
  }
}
