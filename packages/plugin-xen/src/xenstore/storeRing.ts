import type { GuestMemory } from '@polyvisor/plugin-api';
import { StoreConnection } from './connection.ts';
import { MAX_PAYLOAD_BYTES } from './limits.ts';
import { Outbox } from './outbox.ts';
import type { Store } from './store.ts';
import { HEADER_BYTES, type MessageHeader, parseHeader } from './wire.ts';

/** struct xenstore_domain_interface (public/io/xs_wire.h). */
const Ring = {
  BYTES: 1024,
  REQUESTS: 0,
  RESPONSES: 1024,
  REQ_CONS: 2048,
  REQ_PROD: 2052,
  RSP_CONS: 2056,
  RSP_PROD: 2060,
  SERVER_FEATURES: 2064,
  CONNECTION: 2068,
  ERROR: 2072,
} as const;

/** XENSTORE_SERVER_FEATURE_*: error field, watch depth. */
const FEATURES = 2 | 4;
/** XENSTORE_ERROR_*. */
const ERROR_RING_INDEX = 2;
const ERROR_PROTOCOL = 3;

/**
 * The store's end of the ring. A client that breaks the protocol (indices further apart than the ring is long,
 * a payload over the limit) is told so in the error field and not served again.
 */
export class StoreRing {
  readonly #memory: GuestMemory;
  readonly #gpa: number;
  readonly #outbox = new Outbox();
  readonly #connection: StoreConnection;
  #header: MessageHeader | undefined;
  #payload = new Uint8Array(0);
  #received = 0;
  #broken = false;

  /** @param gpa machine address of the ring's page */
  constructor(memory: GuestMemory, gpa: number, store: Store, domid: number, log: (message: string) => void) {
    this.#memory = memory;
    this.#gpa = gpa;
    this.#connection = new StoreConnection(store, domid, this.#outbox, log);
    memory.write32(gpa + Ring.SERVER_FEATURES, FEATURES);
    memory.write32(gpa + Ring.CONNECTION, 0);
    memory.write32(gpa + Ring.ERROR, 0);
  }

  /** Watch events that were lost because the guest does not read. */
  get droppedEvents(): number {
    return this.#outbox.dropped;
  }

  /**
   * Take what the guest has sent, answer it, and send as far as there is room. `true`: an index moved, so the guest
   * is to be notified. No request is begun while answers wait.
   */
  serve(): boolean {
    let moved = false;
    while (!this.#broken) {
      const sent = this.#send();
      if (!this.#outbox.isEmpty || this.#broken) return moved || sent;
      const received = this.#receive();
      moved = moved || sent || received;
      if (!received && this.#outbox.isEmpty) return moved;
    }
    return moved;
  }

  /** Move bytes of the request at hand from the ring; run it when complete. `true`: something was there. */
  #receive(): boolean {
    const wanted = (this.#header === undefined ? HEADER_BYTES : this.#header.payloadBytes) - this.#received;
    const piece = this.#readRing(wanted);
    if (piece === undefined || (piece.length === 0 && wanted > 0)) return false;
    this.#grow(piece);
    if (piece.length < wanted) return true;
    if (this.#header === undefined) this.#startPayload();
    else this.#finish();
    return true;
  }

  #grow(piece: Uint8Array): void {
    const joined = new Uint8Array(this.#received + piece.length);
    joined.set(this.#payload.subarray(0, this.#received));
    joined.set(piece, this.#received);
    this.#payload = joined;
    this.#received = joined.length;
  }

  #startPayload(): void {
    this.#header = parseHeader(this.#payload);
    this.#payload = new Uint8Array(0);
    this.#received = 0;
    if (this.#header.payloadBytes > MAX_PAYLOAD_BYTES) this.#break(ERROR_PROTOCOL);
    else if (this.#header.payloadBytes === 0) this.#finish();
  }

  #finish(): void {
    const header = this.#header;
    const payload = this.#payload;
    this.#header = undefined;
    this.#payload = new Uint8Array(0);
    this.#received = 0;
    if (header !== undefined) this.#connection.handle(header, payload);
  }

  #readRing(limit: number): Uint8Array | undefined {
    const cons = this.#memory.read32(this.#gpa + Ring.REQ_CONS);
    const used = (this.#memory.read32(this.#gpa + Ring.REQ_PROD) - cons) >>> 0;
    if (used > Ring.BYTES) {
      this.#break(ERROR_RING_INDEX);
      return undefined;
    }
    const at = cons % Ring.BYTES;
    const sizeBytes = Math.min(limit, used, Ring.BYTES - at);
    const piece = this.#memory.readBytes(this.#gpa + Ring.REQUESTS + at, sizeBytes);
    this.#memory.write32(this.#gpa + Ring.REQ_CONS, (cons + sizeBytes) >>> 0);
    return piece;
  }

  #send(): boolean {
    let moved = false;
    while (!this.#outbox.isEmpty) {
      const prod = this.#memory.read32(this.#gpa + Ring.RSP_PROD);
      const used = (prod - this.#memory.read32(this.#gpa + Ring.RSP_CONS)) >>> 0;
      if (used > Ring.BYTES) {
        this.#break(ERROR_RING_INDEX);
        return moved;
      }
      if (used === Ring.BYTES) return moved;
      const at = prod % Ring.BYTES;
      const piece = this.#outbox.take(Math.min(Ring.BYTES - used, Ring.BYTES - at));
      this.#memory.writeBytes(this.#gpa + Ring.RESPONSES + at, piece);
      this.#memory.write32(this.#gpa + Ring.RSP_PROD, (prod + piece.length) >>> 0);
      moved = true;
    }
    return moved;
  }

  #break(error: number): void {
    this.#broken = true;
    this.#outbox.clear();
    this.#connection.reset();
    this.#memory.write32(this.#gpa + Ring.ERROR, error);
  }
}
