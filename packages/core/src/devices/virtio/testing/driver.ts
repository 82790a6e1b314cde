import type { GuestMemory } from '@polyvisor/plugin-api';
import { FakeMemory } from '@polyvisor/testkit';
import { VirtioCore } from '../core.ts';
import type { VirtioModel } from '../model.ts';
import { DescriptorFlag, DeviceStatus, Feature } from '../spec.ts';

const MEMORY_BYTES = 1 << 20;
/** Each queue's rings have a page of their own; data comes after them. */
const RING_BYTES = 0x4000;
const AVAILABLE_AT = 0x1000;
const USED_AT = 0x2000;
const DATA = 0x2_0000;

export interface Part {
  readonly bytes?: Uint8Array;
  /** For the device to write. */
  readonly room?: number;
}

/** A driver for one device, in a memory of its own: what a guest's kernel does, in the open. */
export class FakeDriver {
  readonly memory: FakeMemory;
  readonly core: VirtioCore;
  readonly signals: number[] = [];
  configSignals = 0;
  readonly logged: string[] = [];
  readonly #available: number[];
  readonly #used: number[];
  #nextDescriptor = 0;
  #nextData = DATA;
  readonly #rooms = new Map<number, { gpa: number; sizeBytes: number }[]>();

  constructor(model: VirtioModel, features: readonly number[] = [Feature.VERSION_1]) {
    this.memory = new FakeMemory(MEMORY_BYTES);
    this.core = new VirtioCore(model, this.memory as GuestMemory, {
      queueSignal: (queue) => this.signals.push(queue),
      configSignal: () => {
        this.configSignals++;
      },
      log: (message) => this.logged.push(message),
    });
    this.#available = model.queueSizes.map(() => 0);
    this.#used = model.queueSizes.map(() => 0);
    this.core.status = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER;
    this.core.acceptedFeatures = features.reduce((set, bit) => set | (1n << BigInt(bit)), 0n);
    this.core.status |= DeviceStatus.FEATURES_OK;
  }

  /** Set the queues up and say DRIVER_OK. */
  start(): this {
    this.core.queues.forEach((queue, index) => {
      queue.descriptors = this.rings(index);
      queue.available = this.rings(index) + AVAILABLE_AT;
      queue.used = this.rings(index) + USED_AT;
      queue.enabled = true;
    });
    this.core.status |= DeviceStatus.DRIVER_OK;
    return this;
  }

  get needsReset(): boolean {
    return (this.core.status & DeviceStatus.NEEDS_RESET) !== 0;
  }

  rings(queue: number): number {
    return (queue + 1) * RING_BYTES;
  }
  setDescriptor(
    queue: number,
    index: number,
    fields: { gpa: number | bigint; sizeBytes: number; flags: number; next?: number },
  ) {
    const at = this.rings(queue) + index * 16;
    this.writeDescriptor(at, fields);
  }
  writeDescriptor(
    at: number,
    { gpa, sizeBytes, flags, next }: { gpa: number | bigint; sizeBytes: number; flags: number; next?: number },
  ) {
    this.memory.write64(at, BigInt.asUintN(64, BigInt(gpa)));
    this.memory.write32(at + 8, sizeBytes);
    this.memory.write16(at + 12, flags);
    this.memory.write16(at + 14, next ?? 0);
  }
  allocate(sizeBytes: number): number {
    this.#nextData += sizeBytes;
    return this.#nextData - sizeBytes;
  }

  /** Make a request available, without telling; answers its head. */
  add(queue: number, ...parts: readonly Part[]): number {
    const head = this.#nextDescriptor;
    parts.forEach((part, index) => {
      const sizeBytes = part.bytes?.length ?? part.room ?? 0;
      const gpa = this.allocate(sizeBytes);
      if (part.bytes) this.memory.writeBytes(gpa, part.bytes);
      else this.#rooms.set(head, [...(this.#rooms.get(head) ?? []), { gpa, sizeBytes }]);
      const more = index + 1 < parts.length;
      const flags = (part.bytes ? 0 : DescriptorFlag.WRITE) | (more ? DescriptorFlag.NEXT : 0);
      this.setDescriptor(queue, this.#nextDescriptor++, { gpa, sizeBytes, flags, next: this.#nextDescriptor });
    });
    this.offer(queue, head);
    return head;
  }
  /** Put a head into the available ring. */
  offer(queue: number, head: number): void {
    const size = this.core.queues[queue].size;
    const ring = this.rings(queue) + AVAILABLE_AT;
    this.memory.write16(ring + 4 + (this.#available[queue] % size) * 2, head);
    this.#available[queue] = (this.#available[queue] + 1) & 0xffff;
    this.memory.write16(ring + 2, this.#available[queue]);
  }
  kick(queue: number): void {
    this.core.notify(queue);
  }

  /** What has been given back since the last call. */
  collect(queue: number): { head: number; written: number; data: Uint8Array }[] {
    const ring = this.rings(queue) + USED_AT;
    const end = this.memory.read16(ring + 2);
    const size = this.core.queues[queue].size;
    const collected = [];
    for (; this.#used[queue] !== end; this.#used[queue] = (this.#used[queue] + 1) & 0xffff) {
      const at = ring + 4 + (this.#used[queue] % size) * 8;
      const head = this.memory.read32(at);
      const written = this.memory.read32(at + 4);
      const bytes = (this.#rooms.get(head) ?? []).flatMap(({ gpa, sizeBytes }) => [
        ...this.memory.readBytes(gpa, sizeBytes),
      ]);
      collected.push({ head, written, data: Uint8Array.from(bytes.slice(0, written)) });
    }
    return collected;
  }
  /** One request from start to end. */
  request(queue: number, ...parts: readonly Part[]): { written: number; data: Uint8Array } {
    const head = this.add(queue, ...parts);
    this.kick(queue);
    const [answer] = this.collect(queue);
    if (answer?.head !== head) throw new Error(`request ${head} was not answered`);
    return answer;
  }

  /** VRING_AVAIL_F_NO_INTERRUPT, or the used-event index. */
  setAvailableFlags(queue: number, flags: number): void {
    this.memory.write16(this.rings(queue) + AVAILABLE_AT, flags);
  }
  setUsedEvent(queue: number, index: number): void {
    this.memory.write16(this.rings(queue) + AVAILABLE_AT + 4 + this.core.queues[queue].size * 2, index);
  }
  availableEvent(queue: number): number {
    return this.memory.read16(this.rings(queue) + USED_AT + 4 + this.core.queues[queue].size * 8);
  }
}
