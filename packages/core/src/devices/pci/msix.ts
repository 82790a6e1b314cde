import type { MmioDevice } from '../../bus/device.ts';
import type { PciCapability } from './config-space.ts';
import { CapabilityId, MSIX_ENTRY_BYTES, MsixControl, MsixEntry } from './spec.ts';

/** Carries a message-signalled interrupt: a write of `data` to `address` (PCI 3.0, 6.8). */
export type MessageSink = (address: bigint, data: number) => void;

/** Most vectors whose table leaves the second half of its page to the pending bits. */
export const MSIX_MOST_VECTORS = 128;
export const MSIX_BAR_BYTES = 4096;
const PENDING_AT = 2048;
/** Message Control at offset 2; then table and pending-bit array, each an offset with a BAR number. */
const CONTROL_AT = 2;

/**
 * MSI-X (PCI 3.0, 6.8.2): a table of messages in a BAR of its own, pending bits in the second half of it.
 */
export class Msix implements MmioDevice {
  readonly capability: PciCapability;
  readonly #table: DataView;
  readonly #pending: Uint8Array;
  readonly #vectors: number;
  readonly #control: () => number;
  readonly #send: MessageSink;

  /** `control` reads Message Control as it stands in configuration space. */
  constructor(vectors: number, bar: number, control: () => number, send: MessageSink) {
    if (vectors < 1 || vectors > MSIX_MOST_VECTORS) throw new RangeError(`${vectors} MSI-X vectors`);
    this.#vectors = vectors;
    this.#control = control;
    this.#send = send;
    this.#table = new DataView(new ArrayBuffer(vectors * MSIX_ENTRY_BYTES));
    this.#pending = new Uint8Array(MSIX_MOST_VECTORS / 8);
    for (let i = 0; i < vectors; i++)
      this.#table.setUint32(this.#at(i, MsixEntry.vectorControl), MsixEntry.masked, true);
    const body = new DataView(new ArrayBuffer(10));
    body.setUint16(0, vectors - 1, true);
    body.setUint32(2, bar, true);
    body.setUint32(6, PENDING_AT | bar, true);
    const writable = new Uint8Array(10);
    writable[1] = (MsixControl.enable | MsixControl.functionMask) >> 8;
    this.capability = {
      id: CapabilityId.msix,
      body: new Uint8Array(body.buffer),
      writable,
      afterWrite: (offset) => {
        if (offset < CONTROL_AT + 2) this.#sendPending();
      },
    };
  }

  get enabled(): boolean {
    return (this.#control() & MsixControl.enable) !== 0;
  }

  /** Send the vector's message, or remember it until it is unmasked. */
  raise(vector: number): void {
    if (vector < 0 || vector >= this.#vectors) return;
    if (this.#isMasked(vector)) {
      this.#pending[vector >> 3] |= 1 << (vector & 7);
      return;
    }
    const low = BigInt(this.#table.getUint32(this.#at(vector, MsixEntry.address), true));
    const high = BigInt(this.#table.getUint32(this.#at(vector, MsixEntry.address) + 4, true));
    this.#send((high << 32n) | low, this.#table.getUint32(this.#at(vector, MsixEntry.data), true));
  }

  #at(vector: number, field: number): number {
    return vector * MSIX_ENTRY_BYTES + field;
  }
  #isMasked(vector: number): boolean {
    if (!this.enabled || this.#control() & MsixControl.functionMask) return true;
    return (this.#table.getUint32(this.#at(vector, MsixEntry.vectorControl), true) & MsixEntry.masked) !== 0;
  }
  #sendPending(): void {
    for (let vector = 0; vector < this.#vectors; vector++) {
      const bit = 1 << (vector & 7);
      if (!(this.#pending[vector >> 3] & bit) || this.#isMasked(vector)) continue;
      this.#pending[vector >> 3] &= ~bit;
      this.raise(vector);
    }
  }

  /** Table and pending bits; aligned accesses of 4 or 8 bytes are defined (6.8.2), narrower ones work too. */
  readMmio(offset: number, sizeBytes: number): number {
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value |= this.#byte(offset + i) << (8 * i);
    return value >>> 0;
  }
  #byte(offset: number): number {
    if (offset < this.#table.byteLength) return this.#table.getUint8(offset);
    return this.#pending[offset - PENDING_AT] ?? 0;
  }
  writeMmio(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) {
      if (offset + i < this.#table.byteLength) this.#table.setUint8(offset + i, (value >>> (8 * i)) & 0xff);
    }
    this.#sendPending();
  }
}
