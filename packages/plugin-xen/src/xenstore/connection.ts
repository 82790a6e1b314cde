import { StoreError } from './errors.ts';
import { MAX_PAYLOAD_BYTES, Quota } from './limits.ts';
import { nearest } from './node.ts';
import type { Outbox } from './outbox.ts';
import { mayAccess } from './permissions.ts';
import { REQUESTS, type Requester } from './requests.ts';
import type { Store, StoreView } from './store.ts';
import { type WatchEvent, Watches } from './watches.ts';
import { formatMessage, joinStrings, type MessageHeader, StoreMessage } from './wire.ts';

/** One client of the store: its watches and transactions, and what it is told. */
export class StoreConnection implements Requester {
  readonly store: Store;
  readonly domid: number;
  readonly watches: Watches;
  readonly log: (message: string) => void;
  readonly #outbox: Outbox;
  readonly #transactions = new Map<number, StoreView>();
  #lastTransaction = 0;
  /** Events of the request at hand: the reply goes first. */
  #held: WatchEvent[] | undefined;

  constructor(store: Store, domid: number, outbox: Outbox, log: (message: string) => void) {
    this.store = store;
    this.domid = domid;
    this.#outbox = outbox;
    this.log = log;
    this.watches = new Watches(domid);
    store.onChange((changes) => {
      for (const change of changes) {
        for (const event of this.watches.matching(change, (path) => this.#mayRead(path))) this.tell(event);
      }
    });
  }

  /** Serve one request; every request gets exactly one reply. */
  handle(header: MessageHeader, payload: Uint8Array): void {
    this.#held = [];
    const { type, requestId, transactionId } = header;
    try {
      const answer = this.#run(header, payload);
      if (answer.length > MAX_PAYLOAD_BYTES) throw new StoreError('E2BIG');
      this.#outbox.reply(formatMessage(type, requestId, transactionId, answer));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const name = joinStrings([error.errno]);
      this.#outbox.reply(formatMessage(StoreMessage.ERROR, requestId, transactionId, name));
    }
    const events = this.#held;
    this.#held = undefined;
    for (const event of events) this.tell(event);
  }

  tell(event: WatchEvent): void {
    if (this.#held !== undefined) this.#held.push(event);
    else {
      const payload = joinStrings([event.path, event.token]);
      this.#outbox.event(formatMessage(StoreMessage.WATCH_EVENT, 0, 0, payload), `${event.path}\0${event.token}`);
    }
  }

  startTransaction(): number {
    if (this.#transactions.size >= Quota.TRANSACTIONS) throw new StoreError('ENOSPC');
    do this.#lastTransaction = (this.#lastTransaction % 0xffff_ffff) + 1;
    while (this.#transactions.has(this.#lastTransaction));
    this.#transactions.set(this.#lastTransaction, this.store.view());
    return this.#lastTransaction;
  }

  endTransaction(id: number, commit: boolean): void {
    const view = this.#transaction(id);
    this.#transactions.delete(id);
    if (commit && !this.store.commit(view)) throw new StoreError('EAGAIN');
  }

  reset(): void {
    this.watches.clear();
    this.#transactions.clear();
  }

  #run(header: MessageHeader, payload: Uint8Array): Uint8Array {
    const request = REQUESTS.get(header.type);
    if (request === undefined) throw new StoreError('ENOSYS');
    if (!request.usesTree) return request.run({ connection: this, header, payload });
    const inTransaction = header.transactionId !== 0;
    const view = inTransaction ? this.#transaction(header.transactionId) : this.store.view();
    const answer = request.run({ connection: this, header, payload }, view);
    if (!inTransaction) this.store.commit(view);
    return answer;
  }

  #transaction(id: number): StoreView {
    const view = this.#transactions.get(id);
    if (view === undefined) throw new StoreError('ENOENT');
    return view;
  }

  #mayRead(path: string): boolean {
    return mayAccess(nearest(this.store.view().snapshot.root, path).permissions, this.domid, 'read');
  }
}
