import type { GuestMemory } from '@polyvisor/plugin-api';

/** The guest has given an address outside its memory, or a queue that contradicts itself. */
export class BrokenQueue extends Error {}

/** Guest memory for a device: an access outside of it is the guest's fault, not ours. */
export class DeviceMemory {
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  read16(gpa: number): number {
    return this.#memory.read16(this.check(gpa, 2));
  }
  read32(gpa: number): number {
    return this.#memory.read32(this.check(gpa, 4));
  }
  read64(gpa: number): bigint {
    return this.#memory.read64(this.check(gpa, 8));
  }
  write16(gpa: number, value: number): void {
    this.#memory.write16(this.check(gpa, 2), value);
  }
  write32(gpa: number, value: number): void {
    this.#memory.write32(this.check(gpa, 4), value);
  }
  readBytes(gpa: number, sizeBytes: number): Uint8Array {
    return this.#memory.readBytes(this.check(gpa, sizeBytes), sizeBytes);
  }
  writeBytes(gpa: number, bytes: Uint8Array): void {
    this.#memory.writeBytes(this.check(gpa, bytes.length), bytes);
  }

  /** @throws BrokenQueue */
  check(gpa: number, sizeBytes: number): number {
    if (Number.isSafeInteger(gpa) && gpa >= 0 && gpa + sizeBytes <= this.#memory.sizeBytes) return gpa;
    throw new BrokenQueue(`${sizeBytes} bytes at gpa 0x${gpa.toString(16)} are outside guest memory`);
  }
}
