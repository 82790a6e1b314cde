/** For tests: a thread for regions that works when it is told to. */
import { RegionThreadServer } from '../region/thread.ts';
import type { FromThread, RegionThread, ToThread } from '../region/thread-messages.ts';

export class ManualThread implements RegionThread {
  failed = false;
  readonly #asked: ToThread[] = [];
  readonly #answers: FromThread[] = [];
  readonly #server = new RegionThreadServer((message) => this.#answers.push(structuredClone(message)));

  send(message: ToThread): void {
    this.#asked.push(structuredClone(message));
  }
  receive(): FromThread | undefined {
    return this.#answers.shift();
  }

  /** Answer what has been asked: at most so many messages. */
  work(messages = Number.POSITIVE_INFINITY): void {
    for (let i = 0; i < messages; i++) {
      const message = this.#asked.shift();
      if (!message) return;
      this.#server.receive(message);
    }
  }
}
