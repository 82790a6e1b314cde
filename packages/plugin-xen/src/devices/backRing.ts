import type { GuestMemory } from '@polyvisor/plugin-api';
import { PAGE_BYTES } from '../layout.ts';

/** struct x_sring of one page (public/io/ring.h): free-running indices, then the entries. */
const Shared = { REQ_PROD: 0, REQ_EVENT: 4, RSP_PROD: 8, RSP_EVENT: 12, ENTRIES: 64 } as const;

/**
 * The back end's side of a shared ring. Its indices are the guest's to write: one that claims more requests than the
 * ring has entries breaks the ring for good.
 */
export class BackRing {
  readonly #memory: GuestMemory;
  readonly #gpa: number;
  readonly #entryBytes: number;
  readonly entryCount: number;
  #reqCons: number;
  #rspProd: number;
  #pushed: number;
  #broken = false;

  /** @param entryBytes size of the union of request and response */
  constructor(memory: GuestMemory, gpa: number, entryBytes: number) {
    this.#memory = memory;
    this.#gpa = gpa;
    this.#entryBytes = entryBytes;
    this.entryCount = 2 ** Math.floor(Math.log2((PAGE_BYTES - Shared.ENTRIES) / entryBytes));
    // A frontend starts with all indices at 0; one that comes back after an interruption goes on where it was.
    this.#rspProd = memory.read32(gpa + Shared.RSP_PROD);
    this.#reqCons = this.#rspProd;
    this.#pushed = this.#rspProd;
  }

  /** The guest has broken the protocol: nothing is taken from this ring any more. */
  get broken(): boolean {
    return this.#broken;
  }

  /** A copy of the next request, which the guest can no longer change; `undefined`: there is none now. */
  next(): DataView | undefined {
    if (this.#broken) return undefined;
    const available = (this.#memory.read32(this.#gpa + Shared.REQ_PROD) - this.#reqCons) >>> 0;
    if (available === 0) {
      // Ask to be told of the next one.
      this.#memory.write32(this.#gpa + Shared.REQ_EVENT, (this.#reqCons + 1) >>> 0);
      return undefined;
    }
    // Each entry holds one request or one response: what has not been answered still occupies its entry.
    const unanswered = (this.#reqCons - this.#rspProd) >>> 0;
    if (available + unanswered > this.entryCount) {
      this.#broken = true;
      return undefined;
    }
    const bytes = this.#memory.readBytes(this.#entryGpa(this.#reqCons), this.#entryBytes);
    this.#reqCons = (this.#reqCons + 1) >>> 0;
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Put a response into the ring; the guest sees it at the next {@link push}. */
  respond(response: Uint8Array): void {
    this.#memory.writeBytes(this.#entryGpa(this.#rspProd), response);
    this.#rspProd = (this.#rspProd + 1) >>> 0;
  }

  /** Show the guest the responses; `true`: it wants to be told. */
  push(): boolean {
    const old = this.#pushed;
    if (old === this.#rspProd) return false;
    this.#pushed = this.#rspProd;
    this.#memory.write32(this.#gpa + Shared.RSP_PROD, this.#rspProd);
    const event = this.#memory.read32(this.#gpa + Shared.RSP_EVENT);
    return (this.#rspProd - event) >>> 0 < (this.#rspProd - old) >>> 0;
  }

  #entryGpa(index: number): number {
    return this.#gpa + Shared.ENTRIES + (index & (this.entryCount - 1)) * this.#entryBytes;
  }
}
