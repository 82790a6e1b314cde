import { CONFIG_BYTES, Config, Status } from './spec.ts';

/** A capability: what follows its identifier and next pointer. */
export interface PciCapability {
  readonly id: number;
  /** Offset 2 of the capability on. */
  readonly body: Uint8Array;
  /** Bits of `body` that the guest may write; default: none. */
  readonly writable?: Uint8Array;
  /** Before the guest reads bytes of the capability; the offset counts from its start, and so does `bytes`: all of it. */
  beforeRead?(offset: number, sizeBytes: number, bytes: DataView): void;
  /** After the guest has written bytes of the capability. */
  afterWrite?(offset: number, sizeBytes: number, bytes: DataView): void;
}

interface PlacedCapability {
  readonly at: number;
  readonly endsAt: number;
  readonly capability: PciCapability;
  readonly bytes: DataView;
}

/** 256 bytes of configuration space, which of their bits can be written, and the chain of capabilities. */
export class ConfigSpace {
  readonly view = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #writable = new DataView(new ArrayBuffer(CONFIG_BYTES));
  readonly #capabilities: PlacedCapability[] = [];
  #freeAt: number = Config.deviceSpecific;
  /** Where the pointer to the next capability goes. */
  #linkAt: number = Config.capabilities;

  /** Let the guest write these bits of a 32-bit register. */
  allow32(offset: number, mask: number): void {
    this.#writable.setUint32(offset, mask >>> 0, true);
  }
  allow16(offset: number, mask: number): void {
    this.#writable.setUint16(offset, mask, true);
  }
  allow8(offset: number, mask: number): void {
    this.#writable.setUint8(offset, mask);
  }

  /** Append a capability to the chain; answers its offset. @throws RangeError if it does not fit */
  addCapability(capability: PciCapability): number {
    const at = this.#freeAt;
    const endsAt = at + 2 + capability.body.length;
    if (endsAt > CONFIG_BYTES) throw new RangeError(`capability ${capability.id} does not fit in configuration space`);
    this.view.setUint8(at, capability.id);
    capability.body.forEach((byte, i) => this.view.setUint8(at + 2 + i, byte));
    capability.writable?.forEach((byte, i) => this.#writable.setUint8(at + 2 + i, byte));
    this.view.setUint8(this.#linkAt, at);
    this.view.setUint16(Config.status, this.view.getUint16(Config.status, true) | Status.capabilities, true);
    this.#linkAt = at + 1;
    this.#freeAt = (endsAt + 3) & ~3;
    this.#capabilities.push({ at, endsAt, capability, bytes: new DataView(this.view.buffer, at, endsAt - at) });
    return at;
  }

  /** 1, 2 or 4 bytes, naturally aligned. */
  read(offset: number, sizeBytes: number): number {
    const placed = this.#capabilityAt(offset);
    placed?.capability.beforeRead?.(offset - placed.at, sizeBytes, placed.bytes);
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value |= this.view.getUint8(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, sizeBytes: number, value: number): void {
    for (let i = 0; i < sizeBytes; i++) {
      const mask = this.#writable.getUint8(offset + i);
      const byte = (value >>> (8 * i)) & 0xff;
      this.view.setUint8(offset + i, (this.view.getUint8(offset + i) & ~mask) | (byte & mask));
    }
    const placed = this.#capabilityAt(offset);
    placed?.capability.afterWrite?.(offset - placed.at, sizeBytes, placed.bytes);
  }

  #capabilityAt(offset: number): PlacedCapability | undefined {
    if (offset < Config.deviceSpecific) return undefined;
    return this.#capabilities.find(({ at, endsAt }) => offset >= at && offset < endsAt);
  }
}
