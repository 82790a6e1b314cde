import type { EntropyBackend } from '@polyvisor/plugin-api';
import type { DriverLink, VirtioModel } from '../model.ts';
import { DeviceType } from '../spec.ts';

const QUEUE_SIZE = 8;
/** Most bytes for one request; the driver asks again. */
const MOST_BYTES = 4096;
const CLASS_OTHER = 0x00ff00;

/** A source of random numbers (Virtio 1.2, 5.4). */
export class VirtioEntropy implements VirtioModel {
  readonly name = 'virtio-rng';
  readonly type = DeviceType.ENTROPY;
  readonly classCode = CLASS_OTHER;
  readonly features = [];
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new Uint8Array(0);
  readonly #entropy: EntropyBackend;
  #link: DriverLink | undefined;

  constructor(entropy: EntropyBackend) {
    this.#entropy = entropy;
  }

  start(link: DriverLink): void {
    this.#link = link;
    this.notify(0);
  }
  stop(): void {
    this.#link = undefined;
  }

  notify(_queue: number): void {
    const queue = this.#link?.queues[0];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      const bytes = new Uint8Array(Math.min(MOST_BYTES, chain.writableBytes));
      this.#entropy.fill(bytes);
      queue?.push(chain, chain.write(0, bytes));
    }
    this.#link?.signal(0);
  }
}
