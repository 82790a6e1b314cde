import type { GuestMemory } from '@polyvisor/plugin-api';
import type { EngineMemory } from '../engine/memory.ts';
import type { MemoryWrites } from '../memory/memory-writes.ts';

/** Told of what has been written; `again`: it will be written to again soon. */
type AllWritten = (writes: MemoryWrites, again: boolean) => void;

/**
 * Guest-physical memory for everything outside generated code. A write to a page with decoded code
 * drops that code.
 */
export class MachineMemory implements GuestMemory {
  readonly sizeBytes: number;
  readonly words: Int32Array;
  readonly #ram: number;
  readonly #pageFlags: number;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #codeWritten: (host: number, sizeBytes: number) => void;
  readonly #allWritten: AllWritten | undefined;

  /** `allWritten` is told of what {@link writeAll} has written; without it `codeWritten` is, of each. */
  constructor(memory: EngineMemory, codeWritten: (host: number, sizeBytes: number) => void, allWritten?: AllWritten) {
    const { layout } = memory;
    this.sizeBytes = layout.ramSizeBytes;
    this.#ram = layout.ram;
    this.#pageFlags = layout.pageFlags;
    this.#view = new DataView(memory.memory.buffer, layout.ram, layout.ramSizeBytes);
    this.#bytes = memory.bytes;
    this.words = new Int32Array(memory.memory.buffer, layout.ram, layout.ramSizeBytes >>> 2);
    this.#codeWritten = codeWritten;
    this.#allWritten = allWritten;
  }

  read8(gpa: number): number {
    return this.#view.getUint8(gpa);
  }
  read16(gpa: number): number {
    return this.#view.getUint16(gpa, true);
  }
  read32(gpa: number): number {
    return this.#view.getUint32(gpa, true);
  }
  read64(gpa: number): bigint {
    return this.#view.getBigUint64(gpa, true);
  }
  write8(gpa: number, value: number): void {
    this.#view.setUint8(gpa, value);
    this.#written(gpa, 1);
  }
  write16(gpa: number, value: number): void {
    this.#view.setUint16(gpa, value, true);
    this.#written(gpa, 2);
  }
  write32(gpa: number, value: number): void {
    this.#view.setUint32(gpa, value, true);
    this.#written(gpa, 4);
  }
  write64(gpa: number, value: bigint): void {
    this.#view.setBigUint64(gpa, BigInt.asUintN(64, value), true);
    this.#written(gpa, 8);
  }
  readBytes(gpa: number, sizeBytes: number): Uint8Array {
    this.#check(gpa, sizeBytes);
    return this.#bytes.slice(this.#ram + gpa, this.#ram + gpa + sizeBytes);
  }
  writeBytes(gpa: number, bytes: Uint8Array): void {
    this.#check(gpa, bytes.length);
    this.#bytes.set(bytes, this.#ram + gpa);
    this.#written(gpa, bytes.length);
  }
  /** Many small writes, each within a page, best in the order of their addresses: decoded code is dropped for all of them at once. */
  writeAll(writes: MemoryWrites): void {
    this.#writeAll(writes, false);
  }
  /** The same for what is to be written to again soon: what is known of the code around it is put in order at once, so that the next time takes less. */
  rewriteAll(writes: MemoryWrites): void {
    this.#writeAll(writes, true);
  }
  #writeAll(writes: MemoryWrites, again: boolean): void {
    const { count, gpas, starts, sizesBytes, bytes } = writes;
    const memory = this.#bytes;
    for (let n = 0; n < count; n++) this.#check(gpas[n], sizesBytes[n]);
    for (let n = 0; n < count; n++) {
      const host = this.#ram + gpas[n];
      const start = starts[n];
      for (let i = 0; i < sizesBytes[n]; i++) memory[host + i] = bytes[start + i];
    }
    if (this.#allWritten) this.#allWritten(writes, again);
    else for (let n = 0; n < count; n++) this.#written(gpas[n], sizesBytes[n]);
  }
  fill(gpa: number, sizeBytes: number, value: number): void {
    this.#check(gpa, sizeBytes);
    this.#bytes.fill(value, this.#ram + gpa, this.#ram + gpa + sizeBytes);
    this.#written(gpa, sizeBytes);
  }
  testAndSetBit(gpa: number, bit: number): boolean {
    const { index, mask } = this.#bit(gpa, bit);
    return (Atomics.or(this.words, index, mask) & mask) !== 0;
  }
  testAndClearBit(gpa: number, bit: number): boolean {
    const { index, mask } = this.#bit(gpa, bit);
    return (Atomics.and(this.words, index, ~mask) & mask) !== 0;
  }

  #bit(gpa: number, bit: number): { index: number; mask: number } {
    const byte = gpa + (bit >>> 5) * 4;
    if (gpa & 3) throw new RangeError(`bitmap at gpa 0x${gpa.toString(16)} is not aligned to 4 bytes`);
    this.#check(byte, 4);
    return { index: byte >>> 2, mask: 1 << (bit & 31) };
  }
  #check(gpa: number, sizeBytes: number): void {
    if (gpa >= 0 && sizeBytes >= 0 && gpa + sizeBytes <= this.sizeBytes) return;
    throw new RangeError(`${sizeBytes} bytes at gpa 0x${gpa.toString(16)} are outside guest memory`);
  }
  #written(gpa: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const last = (gpa + sizeBytes - 1) >>> 12;
    for (let page = gpa >>> 12; page <= last; page++) {
      if (this.#bytes[this.#pageFlags + page] & 1) {
        this.#codeWritten(this.#ram + gpa, sizeBytes);
        return;
      }
    }
  }
}
