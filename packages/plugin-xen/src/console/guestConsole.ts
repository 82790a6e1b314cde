import type { XenDomain } from '../domain.ts';
import type { EventChannels } from '../events/eventChannels.ts';
import { ConsoleRing, MAX_QUEUED_INPUT_BYTES } from './consoleRing.ts';

const PAGE_BYTES = 4096;

/** The console daemon: joins the guest's ring to the operator's console. */
export class GuestConsole {
  readonly #domain: XenDomain;
  readonly #events: EventChannels;
  readonly port: number;
  #ring: ConsoleRing | undefined;
  /** Typed before the ring was there. */
  #early: number[] = [];

  constructor(domain: XenDomain, events: EventChannels) {
    this.#domain = domain;
    this.#events = events;
    this.port = events.bindHost(() => this.#serve());
    domain.machine.console.onInput((bytes) => this.#type(bytes));
  }

  start(mfn: number): void {
    this.#ring = new ConsoleRing(this.#domain.memory, mfn * PAGE_BYTES);
    const early = Uint8Array.from(this.#early);
    this.#early = [];
    this.#type(early);
  }

  /** Put out what the guest has written and not announced. */
  drain(): boolean {
    const output = this.#ring?.takeOutput();
    if (output === undefined || output.length === 0) return false;
    this.#domain.machine.console.write(output);
    return true;
  }

  #serve(): void {
    const drained = this.drain();
    const filled = this.#ring?.fillInput() ?? false;
    if (drained || filled) this.#events.notifyGuest(this.port);
  }

  #type(bytes: Uint8Array): void {
    if (this.#ring === undefined) {
      this.#early.push(...bytes.subarray(0, MAX_QUEUED_INPUT_BYTES - this.#early.length));
      return;
    }
    const dropped = this.#ring.queueInput(bytes);
    if (dropped > 0) this.#domain.host.count('console.inputDroppedBytes', dropped);
    if (this.#ring.fillInput()) this.#events.notifyGuest(this.port);
  }
}
