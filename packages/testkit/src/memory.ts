import type { GuestMemory } from '@polyvisor/plugin-api';

/** Guest-physical memory over one ArrayBuffer, little-endian, zeroed. */
export class FakeMemory implements GuestMemory {
  readonly sizeBytes: number;
  readonly words: Int32Array;
  /** All of it, for tests that want to look at or prepare bytes directly. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  /** @param sizeBytes a multiple of 4 */
  constructor(sizeBytes: number) {
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 4 !== 0) {
      throw new RangeError(`memory size ${sizeBytes}: a positive multiple of 4 is needed`);
    }
    const buffer = new ArrayBuffer(sizeBytes);
    this.sizeBytes = sizeBytes;
    this.words = new Int32Array(buffer);
    this.bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  read8(gpa: number): number {
    return this.#view.getUint8(this.#checked(gpa, 1));
  }
  read16(gpa: number): number {
    return this.#view.getUint16(this.#checked(gpa, 2), true);
  }
  read32(gpa: number): number {
    return this.#view.getUint32(this.#checked(gpa, 4), true);
  }
  read64(gpa: number): bigint {
    return this.#view.getBigUint64(this.#checked(gpa, 8), true);
  }
  write8(gpa: number, value: number): void {
    this.#view.setUint8(this.#checked(gpa, 1), value);
  }
  write16(gpa: number, value: number): void {
    this.#view.setUint16(this.#checked(gpa, 2), value, true);
  }
  write32(gpa: number, value: number): void {
    this.#view.setUint32(this.#checked(gpa, 4), value, true);
  }
  write64(gpa: number, value: bigint): void {
    this.#view.setBigUint64(this.#checked(gpa, 8), value, true);
  }

  readBytes(gpa: number, sizeBytes: number): Uint8Array {
    this.#checked(gpa, sizeBytes);
    return this.bytes.slice(gpa, gpa + sizeBytes);
  }
  writeBytes(gpa: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#checked(gpa, bytes.length));
  }
  fill(gpa: number, sizeBytes: number, value: number): void {
    this.#checked(gpa, sizeBytes);
    this.bytes.fill(value, gpa, gpa + sizeBytes);
  }

  testAndSetBit(gpa: number, bit: number): boolean {
    const { at, mask } = this.#bit(gpa, bit);
    const old = (this.bytes[at] & mask) !== 0;
    this.bytes[at] |= mask;
    return old;
  }
  testAndClearBit(gpa: number, bit: number): boolean {
    const { at, mask } = this.#bit(gpa, bit);
    const old = (this.bytes[at] & mask) !== 0;
    this.bytes[at] &= ~mask;
    return old;
  }

  #bit(gpa: number, bit: number): { at: number; mask: number } {
    return { at: this.#checked(gpa + Math.floor(bit / 8), 1), mask: 1 << (bit & 7) };
  }

  #checked(gpa: number, sizeBytes: number): number {
    const inside = Number.isSafeInteger(gpa) && gpa >= 0 && sizeBytes >= 0 && gpa + sizeBytes <= this.sizeBytes;
    if (!inside) throw new RangeError(`gpa 0x${gpa.toString(16)} + ${sizeBytes} bytes is outside the guest's memory`);
    return gpa;
  }
}
