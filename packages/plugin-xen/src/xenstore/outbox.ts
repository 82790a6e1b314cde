import { Quota } from './limits.ts';

interface Message {
  readonly bytes: Uint8Array;
  /** Same key as a waiting message: says nothing new. */
  readonly key: string | undefined;
}

/** Messages on their way to a client, in order, some of the first perhaps already sent. */
export class Outbox {
  #messages: Message[] = [];
  readonly #keys = new Set<string>();
  #sentOfFirst = 0;
  #queuedBytes = 0;
  /** Events dropped because the client does not read. */
  dropped = 0;

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  reply(bytes: Uint8Array): void {
    this.#push({ bytes, key: undefined });
  }

  /** A watch event; one that already waits is not queued twice, and none beyond the limit. */
  event(bytes: Uint8Array, key: string): void {
    if (this.#keys.has(key)) return;
    if (this.#queuedBytes + bytes.length > Quota.QUEUED_BYTES) {
      this.dropped++;
      return;
    }
    this.#keys.add(key);
    this.#push({ bytes, key });
  }

  /** The next bytes, at most `limit`; empty when there are none. */
  take(limit: number): Uint8Array {
    const first = this.#messages[0];
    if (first === undefined || limit === 0) return new Uint8Array(0);
    const piece = first.bytes.subarray(this.#sentOfFirst, this.#sentOfFirst + limit);
    if (this.#sentOfFirst === 0 && first.key !== undefined) this.#keys.delete(first.key);
    this.#sentOfFirst += piece.length;
    this.#queuedBytes -= piece.length;
    if (this.#sentOfFirst === first.bytes.length) {
      this.#messages.shift();
      this.#sentOfFirst = 0;
    }
    return piece;
  }

  clear(): void {
    this.#messages = [];
    this.#keys.clear();
    this.#sentOfFirst = 0;
    this.#queuedBytes = 0;
  }

  #push(message: Message): void {
    this.#messages.push(message);
    this.#queuedBytes += message.bytes.length;
  }
}
