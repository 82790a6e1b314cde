import type { GuestMemory } from '@polyvisor/plugin-api';
import { BrokenQueue, DeviceMemory } from './memory.ts';
import type { DriverLink, VirtioModel } from './model.ts';
import { DeviceStatus, Feature } from './spec.ts';
import { type QueueLayout, Virtqueue } from './virtqueue.ts';

/** A queue as the driver configures it. Addresses as 64-bit numbers would need; larger ones fit no guest. */
export interface QueueSetup {
  size: number;
  enabled: boolean;
  descriptors: number;
  available: number;
  used: number;
}

/** What a transport does for the device. */
export interface TransportSide {
  /** A queue has something for the driver. */
  queueSignal(queue: number): void;
  /** The configuration, or the status, has changed. */
  configSignal(): void;
  log(message: string): void;
}

/** The device behind any transport: status, features, queues (Virtio 1.2, 2.1 to 2.5 and 3). */
export class VirtioCore {
  readonly model: VirtioModel;
  readonly queues: QueueSetup[];
  readonly #memory: DeviceMemory;
  readonly #side: TransportSide;
  readonly #offered: bigint;
  #accepted = 0n;
  #status = 0;
  #running: readonly (Virtqueue | undefined)[] | undefined;

  constructor(model: VirtioModel, memory: GuestMemory, side: TransportSide) {
    this.model = model;
    this.#memory = new DeviceMemory(memory);
    this.#side = side;
    this.queues = model.queueSizes.map((size) => emptyQueue(size));
    const bits = [Feature.RING_INDIRECT_DESC, Feature.RING_EVENT_IDX, Feature.VERSION_1, ...model.features];
    this.#offered = bits.reduce((set, bit) => set | (1n << BigInt(bit)), 0n);
  }

  get offeredFeatures(): bigint {
    return this.#offered;
  }
  /** What the driver has accepted; what was never offered is left out by legacy drivers' rules, refused by others'. */
  get acceptedFeatures(): bigint {
    return this.#accepted;
  }
  set acceptedFeatures(features: bigint) {
    if ((this.#status & DeviceStatus.FEATURES_OK) === 0) this.#accepted = features;
  }
  has(feature: number): boolean {
    return (this.#accepted & (1n << BigInt(feature))) !== 0n;
  }

  get status(): number {
    return this.#status;
  }
  /** Writing 0 resets; bits otherwise only accumulate. */
  set status(value: number) {
    if (value === 0) {
      this.#reset();
      return;
    }
    let status = value | (this.#status & DeviceStatus.NEEDS_RESET);
    const foreign = (this.#accepted & ~this.#offered) !== 0n;
    if (foreign) status &= ~DeviceStatus.FEATURES_OK;
    const starts = (status & ~this.#status & DeviceStatus.DRIVER_OK) !== 0;
    this.#status = status;
    if (starts && (status & DeviceStatus.NEEDS_RESET) === 0) this.startEarly();
  }

  /** Start, unless it runs already; the queues are those that are set up now. */
  startEarly(): void {
    if (this.#running === undefined) this.guard(() => this.#start());
  }

  notify(queue: number): void {
    if (this.#running?.[queue] !== undefined) this.guard(() => this.model.notify(queue));
  }

  /** Work on the queues; one that the guest has broken stops the device until it is reset. */
  guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof BrokenQueue)) throw error;
      this.#side.log(`${this.model.name}: ${error.message}; the device waits to be reset`);
      this.#stop();
      this.#status |= DeviceStatus.NEEDS_RESET;
      this.#side.configSignal();
    }
  }

  #start(): void {
    const features = { eventIndex: this.has(Feature.RING_EVENT_IDX) };
    const queues = this.queues.map((setup) =>
      setup.enabled ? new Virtqueue(this.#memory, layoutOf(setup), features) : undefined,
    );
    this.#running = queues;
    const link: DriverLink = {
      queues,
      has: (feature) => this.has(feature),
      signal: (queue) => {
        if (queues[queue]?.shouldSignal()) this.#side.queueSignal(queue);
      },
      guard: (work) => {
        if (this.#running === queues) this.guard(work);
      },
    };
    this.model.start(link);
  }

  #stop(): void {
    if (this.#running === undefined) return;
    this.#running = undefined;
    this.model.stop();
  }

  #reset(): void {
    this.#stop();
    this.#status = 0;
    this.#accepted = 0n;
    this.model.queueSizes.forEach((size, index) => {
      this.queues[index] = emptyQueue(size);
    });
  }
}

function emptyQueue(size: number): QueueSetup {
  return { size, enabled: false, descriptors: 0, available: 0, used: 0 };
}

function layoutOf({ size, descriptors, available, used }: QueueSetup): QueueLayout {
  return { size, descriptors, available, used };
}
