import { Chain, type Segment } from './chain.ts';
import { BrokenQueue, type DeviceMemory } from './memory.ts';
import { AVAILABLE_ENTRY_BYTES, Descriptor, DescriptorFlag, NO_EVENTS, Ring, USED_ENTRY_BYTES } from './spec.ts';

/** Longest chain; an indirect table may be longer than the queue (2.7.5.3), but not endless. */
const MOST_SEGMENTS = 1024;
/** Most bytes of one chain: no device here has use for more, and descriptors may name the same memory again and again. */
const MOST_CHAIN_BYTES = 16 << 20;

/** Where a queue lies, as the driver has set it up. Addresses are guest-physical, sizes in entries. */
export interface QueueLayout {
  /** A power of two. */
  readonly size: number;
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

/** Where the three parts lie in the interface of 0.9.5 (2.7.2): one after the other, the used ring on a page of its own. */
export function legacyLayout(gpa: number, size: number): QueueLayout {
  const available = gpa + size * Descriptor.BYTES;
  const end = available + Ring.ENTRIES + size * AVAILABLE_ENTRY_BYTES + 2;
  return { size, descriptors: gpa, available, used: Math.ceil(end / 4096) * 4096 };
}

/**
 * The device's side of a split virtqueue (2.7). Every index and length is the guest's to write; what makes no sense throws
 * {@link BrokenQueue}, and nothing is taken from the queue any more.
 */
export class Virtqueue {
  readonly #memory: DeviceMemory;
  readonly #layout: QueueLayout;
  readonly #eventIndex: boolean;
  /** Free-running 16-bit indices: next to take, next to give back, given back when the driver was told last. */
  #nextAvailable = 0;
  #nextUsed = 0;
  #toldUsed = 0;

  constructor(memory: DeviceMemory, layout: QueueLayout, features: { readonly eventIndex: boolean }) {
    this.#memory = memory;
    this.#layout = layout;
    this.#eventIndex = features.eventIndex;
    const { size, descriptors, available, used } = layout;
    memory.check(descriptors, size * Descriptor.BYTES);
    memory.check(available, Ring.ENTRIES + size * AVAILABLE_ENTRY_BYTES + 2);
    memory.check(used, Ring.ENTRIES + size * USED_ENTRY_BYTES + 2);
  }

  get size(): number {
    return this.#layout.size;
  }

  /** The next request; `undefined`: there is none now, and the driver will tell of the next. */
  pop(): Chain | undefined {
    const index = this.#memory.read16(this.#layout.available + Ring.INDEX);
    const waiting = (index - this.#nextAvailable) & 0xffff;
    if (waiting === 0) {
      this.#wantEvents();
      return undefined;
    }
    if (waiting > this.size) throw new BrokenQueue(`${waiting} requests in a queue of ${this.size}`);
    const slot = this.#nextAvailable % this.size;
    const head = this.#memory.read16(this.#layout.available + Ring.ENTRIES + slot * AVAILABLE_ENTRY_BYTES);
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    return this.#chainAt(head);
  }

  /** Give a request back; `writtenBytes` of its writable part have been filled. */
  push({ head }: Chain, writtenBytes: number): void {
    const { used, size } = this.#layout;
    const entry = used + Ring.ENTRIES + (this.#nextUsed % size) * USED_ENTRY_BYTES;
    this.#memory.write32(entry, head);
    this.#memory.write32(entry + 4, writtenBytes);
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    this.#memory.write16(used + Ring.INDEX, this.#nextUsed);
  }

  /** Whether the driver wants to be told of what has been given back since it was told last (2.7.7). */
  shouldSignal(): boolean {
    const told = this.#toldUsed;
    if (told === this.#nextUsed) return false;
    this.#toldUsed = this.#nextUsed;
    const { available, size } = this.#layout;
    if (!this.#eventIndex) return (this.#memory.read16(available + Ring.FLAGS) & NO_EVENTS) === 0;
    const wanted = this.#memory.read16(available + Ring.ENTRIES + size * AVAILABLE_ENTRY_BYTES);
    return ((this.#nextUsed - wanted - 1) & 0xffff) < ((this.#nextUsed - told) & 0xffff);
  }

  /** Ask to be told of the next request (2.7.10). Without event indices the flag stays as it is: always. */
  #wantEvents(): void {
    if (!this.#eventIndex) return;
    const { used, size } = this.#layout;
    this.#memory.write16(used + Ring.ENTRIES + size * USED_ENTRY_BYTES, this.#nextAvailable);
  }

  #chainAt(head: number): Chain {
    const walk = new ChainWalk(this.#memory);
    const { descriptors, size } = this.#layout;
    walk.follow({ table: descriptors, count: size, first: head, indirect: false });
    return new Chain(this.#memory, head, walk.readable, walk.writable);
  }
}

interface DescriptorTable {
  readonly table: number;
  readonly count: number;
  readonly first: number;
  readonly indirect: boolean;
}

/** Collects the segments of one chain, within bounds. */
class ChainWalk {
  readonly readable: Segment[] = [];
  readonly writable: Segment[] = [];
  readonly #memory: DeviceMemory;
  #segments = 0;
  #bytes = 0;

  constructor(memory: DeviceMemory) {
    this.#memory = memory;
  }

  follow({ table, count, first, indirect }: DescriptorTable): void {
    const memory = this.#memory;
    for (let index = first, seen = 0; ; seen++) {
      // More descriptors than there are: a loop.
      if (index >= count || seen >= count) throw new BrokenQueue(`descriptor ${index} of ${count}`);
      const at = table + index * Descriptor.BYTES;
      const segment = {
        gpa: Number(memory.read64(at + Descriptor.ADDRESS)),
        sizeBytes: memory.read32(at + Descriptor.LENGTH),
      };
      const flags = memory.read16(at + Descriptor.FLAGS);
      if ((flags & DescriptorFlag.INDIRECT) !== 0) {
        this.#followIndirect(segment, flags, indirect);
        return;
      }
      this.#add(segment, (flags & DescriptorFlag.WRITE) !== 0);
      if ((flags & DescriptorFlag.NEXT) === 0) return;
      index = memory.read16(at + Descriptor.NEXT);
    }
  }

  /** 2.7.5.3: a table of its own, at the end of the chain, in which there is no further one. */
  #followIndirect({ gpa, sizeBytes }: Segment, flags: number, inIndirect: boolean): void {
    const count = sizeBytes / Descriptor.BYTES;
    if (inIndirect || (flags & DescriptorFlag.NEXT) !== 0 || !Number.isInteger(count) || count === 0) {
      throw new BrokenQueue(`an indirect table of ${sizeBytes} bytes, flags ${flags}`);
    }
    this.#memory.check(gpa, sizeBytes);
    this.follow({ table: gpa, count, first: 0, indirect: true });
  }

  #add(segment: Segment, isWritable: boolean): void {
    this.#memory.check(segment.gpa, segment.sizeBytes);
    this.#bytes += segment.sizeBytes;
    if (++this.#segments > MOST_SEGMENTS || this.#bytes > MOST_CHAIN_BYTES) {
      throw new BrokenQueue(`a request of ${this.#segments} segments and ${this.#bytes} bytes`);
    }
    if (isWritable) this.writable.push(segment);
    else if (this.writable.length > 0) throw new BrokenQueue('a readable descriptor after a writable one');
    else this.readable.push(segment);
  }
}
