import type { Virtqueue } from './virtqueue.ts';

/** What a device has of its driver while that is running. */
export interface DriverLink {
  readonly queues: readonly (Virtqueue | undefined)[];
  has(feature: number): boolean;
  /** Tell the driver, if it wants to be told, of what has been given back in a queue. */
  signal(queue: number): void;
  /** Do something with the queues outside a notification; a broken queue stops the device. */
  guard(work: () => void): void;
}

/** What a kind of device adds to the common machinery. */
export interface VirtioModel {
  readonly name: string;
  /** Device type (5). */
  readonly type: number;
  /** PCI base class, sub-class and interface. */
  readonly classCode: number;
  /** Feature bits by number, beyond those of the rings. */
  readonly features: readonly number[];
  /** Size of each queue in entries, a power of two. */
  readonly queueSizes: readonly number[];
  /** Device configuration; the guest may read it at any time. */
  readonly config: Uint8Array;
  /** The driver writes to it; without this nothing happens. */
  writeConfig?(at: number, sizeBytes: number, value: number): void;
  /** The driver is ready. */
  start(link: DriverLink): void;
  /** The driver has put something into a queue. */
  notify(queue: number): void;
  /** The driver is gone; nothing of its queues may be touched any more. */
  stop(): void;
}
