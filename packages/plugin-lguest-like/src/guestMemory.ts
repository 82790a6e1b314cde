import type { GuestMemory } from '@polyvisor/plugin-api';
import { hex, kill } from './killed.ts';

/**
 * Guest-physical memory for what a guest names: an address outside of it kills the guest, as __lgread and __lgwrite did
 * (drivers/lguest/core.c). The guest's frames are those of the machine, from 0 on.
 */
export class CheckedMemory {
  readonly #memory: GuestMemory;
  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  /** One past the last address; `pfn_limit` in bytes. */
  get limit(): number {
    return this.#memory.sizeBytes;
  }
  contains(gpa: number, sizeBytes: number): boolean {
    return gpa >= 0 && gpa + sizeBytes <= this.#memory.sizeBytes;
  }
  /** @throws Killed */
  read8(gpa: number): number {
    return this.#memory.read8(this.#readable(gpa, 1));
  }
  /** @throws Killed */
  read32(gpa: number): number {
    return this.#memory.read32(this.#readable(gpa, 4));
  }
  /** @throws Killed */
  read(gpa: number, sizeBytes: number): Uint8Array {
    return this.#memory.readBytes(this.#readable(gpa, sizeBytes), sizeBytes);
  }
  /** @throws Killed */
  write8(gpa: number, value: number): void {
    if (!this.contains(gpa, 1)) kill(`bad write address ${hex(gpa)} len 1`);
    this.#memory.write8(gpa, value);
  }
  /** @throws Killed */
  write32(gpa: number, value: number): void {
    if (!this.contains(gpa, 4)) kill(`bad write address ${hex(gpa)} len 4`);
    this.#memory.write32(gpa, value >>> 0);
  }
  /** The bytes up to a NUL or the end of memory, at most `mostBytes`. */
  text(gpa: number, mostBytes: number): Uint8Array {
    const bytes = this.read(gpa, Math.min(mostBytes, Math.max(1, this.limit - gpa)));
    const end = bytes.indexOf(0);
    return end < 0 ? bytes : bytes.subarray(0, end);
  }

  #readable(gpa: number, sizeBytes: number): number {
    return this.contains(gpa, sizeBytes) ? gpa : kill(`bad read address ${hex(gpa)} len ${sizeBytes}`);
  }
}
