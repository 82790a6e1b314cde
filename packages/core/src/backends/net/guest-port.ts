/** Frames that wait for the guest, at most; more are dropped. */
const MOST_WAITING = 512;

/** Frames on their way to the guest: what it has no room for waits, up to a bound. */
export class GuestPort {
  #take: (frame: Uint8Array) => boolean = () => false;
  #waiting: Uint8Array[] = [];
  #listening = false;

  /** Nothing more should be sent now; what can be sent later should wait. */
  get congested(): boolean {
    return this.#waiting.length > 0;
  }

  /** From now on frames go to this taker; those for an earlier one are forgotten. */
  attach(take: (frame: Uint8Array) => boolean): void {
    this.#take = take;
    this.#waiting = [];
    this.#listening = true;
  }

  send(frame: Uint8Array): void {
    if (!this.#listening) return;
    if (this.#waiting.length === 0 && this.#take(frame)) return;
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push(frame);
  }

  resume(): void {
    let done = 0;
    while (done < this.#waiting.length && this.#take(this.#waiting[done])) done++;
    if (done > 0) this.#waiting = this.#waiting.slice(done);
  }
}
