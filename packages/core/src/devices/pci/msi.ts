import type { PciCapability } from './config-space.ts';
import type { MessageSink } from './msix.ts';
import { CapabilityId, MsiControl } from './spec.ts';

/** Offsets in the capability with a 64-bit address (PCI 3.0, 6.8.1). */
const CONTROL = 2;
const ADDRESS = 4;
const DATA = 12;
const MOST_VECTORS = 32;
const ENABLED_MASK = 7;

/** MSI (PCI 3.0, 6.8.1) with a 64-bit address and without per-vector masks. */
export class Msi {
  readonly capability: PciCapability;
  readonly #read: (offset: number, sizeBytes: number) => number;
  readonly #send: MessageSink;

  /** `vectors` is a power of two up to 32; `read` reads the capability as it stands in configuration space. */
  constructor(vectors: number, read: (offset: number, sizeBytes: number) => number, send: MessageSink) {
    const exponent = Math.log2(vectors);
    if (!Number.isInteger(exponent) || vectors > MOST_VECTORS) throw new RangeError(`${vectors} MSI vectors`);
    this.#read = read;
    this.#send = send;
    const body = new Uint8Array(DATA + 2 - 2);
    body[0] = (exponent << MsiControl.capableShift) | MsiControl.address64;
    const writable = new Uint8Array(body.length).fill(0xff);
    writable[CONTROL - 2] = MsiControl.enable | (ENABLED_MASK << MsiControl.enabledShift);
    writable[CONTROL - 1] = 0;
    writable[ADDRESS - 2] = 0xfc;
    this.capability = { id: CapabilityId.msi, body, writable };
  }

  get enabled(): boolean {
    return (this.#read(CONTROL, 2) & MsiControl.enable) !== 0;
  }

  /** Vectors beyond those the guest has enabled fold onto these (6.8.1.6). */
  raise(vector: number): void {
    const granted = 1 << Math.min(5, (this.#read(CONTROL, 2) >> MsiControl.enabledShift) & ENABLED_MASK);
    const address = (BigInt(this.#read(ADDRESS + 4, 4)) << 32n) | BigInt(this.#read(ADDRESS, 4));
    this.#send(address, (this.#read(DATA, 2) & ~(granted - 1)) | (vector & (granted - 1)));
  }
}
