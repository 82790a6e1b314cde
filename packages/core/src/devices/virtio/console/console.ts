import type { ConsolePort } from '@polyvisor/plugin-api';
import type { DriverLink, VirtioModel } from '../model.ts';
import { DeviceType } from '../spec.ts';

const Queue = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 64;
/** Typed-ahead input that is kept, bytes; more is dropped. */
const MOST_INPUT_BYTES = 65_536;
const CLASS_OTHER = 0x078000;

/** Feature bits, and offset of the register for characters before there are queues (5.3.3 and 5.3.4). */
const EMERGENCY_WRITE = 2;
const EMERGENCY_WRITE_AT = 8;

/** A console with one port (Virtio 1.2, 5.3). NOT IMPLEMENTED: several ports, size. */
export class VirtioConsole implements VirtioModel {
  readonly name = 'virtio-console';
  readonly type = DeviceType.CONSOLE;
  readonly classCode = CLASS_OTHER;
  readonly features = [EMERGENCY_WRITE];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(12);
  readonly #console: ConsolePort;
  #input = new Uint8Array(0);
  #link: DriverLink | undefined;

  constructor(console: ConsolePort) {
    this.#console = console;
    console.onInput((bytes) => this.#type(bytes));
  }

  /** A character, whether there is a driver or not (5.3.4.1). */
  writeConfig(at: number, _sizeBytes: number, value: number): void {
    if (at === EMERGENCY_WRITE_AT) this.#console.write(Uint8Array.of(value & 0xff));
  }

  start(link: DriverLink): void {
    this.#link = link;
    this.notify(Queue.RECEIVE);
    this.notify(Queue.TRANSMIT);
  }
  stop(): void {
    this.#link = undefined;
  }

  notify(queue: number): void {
    if (queue === Queue.RECEIVE) this.#fill();
    else this.#drain();
  }

  #drain(): void {
    const queue = this.#link?.queues[Queue.TRANSMIT];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      this.#console.write(chain.read(0, chain.readableBytes));
      queue?.push(chain, 0);
    }
    this.#link?.signal(Queue.TRANSMIT);
  }

  #type(bytes: Uint8Array): void {
    const kept = bytes.subarray(0, MOST_INPUT_BYTES - this.#input.length);
    const input = new Uint8Array(this.#input.length + kept.length);
    input.set(this.#input);
    input.set(kept, this.#input.length);
    this.#input = input;
    this.#link?.guard(() => this.#fill());
  }

  #fill(): void {
    const queue = this.#link?.queues[Queue.RECEIVE];
    while (this.#input.length > 0) {
      const chain = queue?.pop();
      if (chain === undefined) break;
      const written = chain.write(0, this.#input);
      queue?.push(chain, written);
      this.#input = this.#input.slice(written);
    }
    this.#link?.signal(Queue.RECEIVE);
  }
}
