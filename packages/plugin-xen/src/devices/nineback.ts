import type { GuestMemory, ShareBackend, ShareSession } from '@polyvisor/plugin-api';
import { PAGE_BYTES } from '../layout.ts';
import type { Connection, DeviceModel, FrontendNodes } from './backendDevice.ts';
import type { MappedPage } from './foreignPages.ts';
import { type HeldPort, type Host, holdPort } from './host.ts';

/** What the backend offers: rings of up to 2⁷ pages, half of them each way. */
const MOST_RINGS = 4;
const MOST_RING_ORDER = 7;
/** struct xen_9pfs_data_intf (public/io/9pfs.h): indices of each way, then the data pages' order and references. */
const Interface = { IN_CONS: 0, IN_PROD: 4, OUT_CONS: 64, OUT_PROD: 68, RING_ORDER: 128, REFS: 132 } as const;
/** size[4] of a 9P message, and the shortest one. */
const SIZE_BYTES = 4;
const LEAST_MESSAGE_BYTES = 7;

/** A shared folder for a guest, by Xen's 9P transport. */
export function shareDevice(host: Host, share: ShareBackend, index: number): DeviceModel {
  return {
    type: '9pfs',
    id: index,
    backendNodes: {
      versions: '1',
      'max-rings': String(MOST_RINGS),
      'max-ring-page-order': String(MOST_RING_ORDER),
    },
    frontendNodes: { tag: share.tag },
    connect: (frontend) => connect(host, share, frontend),
  };
}

function connect(host: Host, share: ShareBackend, frontend: FrontendNodes): Connection | string {
  const version = frontend.number('version');
  const count = frontend.number('num-rings') ?? 0;
  if (version !== 1) return `version "${version}" of the protocol is not known`;
  if (count < 1 || count > MOST_RINGS) return `${count} rings are not offered`;
  const session = share.connect();
  const rings: NineRing[] = [];
  const disconnect = () => {
    for (const ring of rings) ring.close();
    session.close();
  };
  for (let index = 0; index < count; index++) {
    const ring = openRing(host, session, frontend, index);
    if (typeof ring === 'string') {
      disconnect();
      return ring;
    }
    rings.push(ring);
  }
  for (const ring of rings) ring.serve();
  return { disconnect };
}

function openRing(host: Host, session: ShareSession, frontend: FrontendNodes, index: number): NineRing | string {
  const ref = frontend.number(`ring-ref${index}`);
  const port = frontend.number(`event-channel-${index}`);
  if (ref === undefined || port === undefined) return `ring ${index} has no reference or event channel`;
  const shared = host.pages.map(ref);
  if (shared === undefined) return `page ${ref} of ring ${index} is not granted`;
  const order = host.memory.read32(shared.gpa + Interface.RING_ORDER);
  const refs =
    order <= MOST_RING_ORDER
      ? Array.from({ length: 2 ** order }, (_, page) => host.memory.read32(shared.gpa + Interface.REFS + page * 4))
      : [];
  const data = refs.length > 0 ? host.pages.mapAll(refs) : undefined;
  if (data === undefined) {
    shared.release();
    return `data pages of ring ${index} (order ${order}) are not granted`;
  }
  const ring = new NineRing(host, session, shared, data);
  const channel = holdPort(host, port, () => ring.serve());
  if (channel !== undefined) {
    ring.attach(channel);
    return ring;
  }
  ring.close();
  return `event channel ${port} cannot be bound`;
}

/** One ring: requests come out of one half of its pages, replies go into the other. */
class NineRing {
  readonly #host: Host;
  readonly #memory: GuestMemory;
  readonly #session: ShareSession;
  readonly #shared: MappedPage;
  readonly #data: readonly MappedPage[];
  readonly #halfBytes: number;
  #channel: HeldPort | undefined;
  /** A reply for which there was no room. */
  #waiting: Uint8Array | undefined;
  #broken = false;

  constructor(host: Host, session: ShareSession, shared: MappedPage, data: readonly MappedPage[]) {
    this.#host = host;
    this.#memory = host.memory;
    this.#session = session;
    this.#shared = shared;
    this.#data = data;
    this.#halfBytes = (data.length * PAGE_BYTES) / 2;
  }

  attach(channel: HeldPort): void {
    this.#channel = channel;
  }

  /** Answer every whole request, as long as there is room for the answers. */
  serve(): void {
    let changed = false;
    while (!this.#broken && this.#flush()) {
      const request = this.#take();
      if (request === undefined) break;
      this.#waiting = this.#session.request(request);
      changed = true;
    }
    if (changed) this.#channel?.notify();
    if (this.#broken) this.#host.brokenRing('9pfs');
  }

  close(): void {
    this.#channel?.close();
    for (const page of this.#data) page.release();
    this.#shared.release();
  }

  /** `true`: no reply waits any more. */
  #flush(): boolean {
    const reply = this.#waiting;
    if (reply === undefined) return true;
    const prod = this.#index(Interface.IN_PROD);
    const used = (prod - this.#index(Interface.IN_CONS)) >>> 0;
    if (used > this.#halfBytes || reply.length > this.#halfBytes) {
      this.#broken = true;
      return false;
    }
    if (reply.length > this.#halfBytes - used) return false;
    this.#copy(prod, 0, reply.length, (gpa, at, sizeBytes) =>
      this.#memory.writeBytes(gpa, reply.subarray(at, at + sizeBytes)),
    );
    this.#memory.write32(this.#shared.gpa + Interface.IN_PROD, (prod + reply.length) >>> 0);
    this.#waiting = undefined;
    return true;
  }

  /** A copy of the next request; `undefined`: it is not there as a whole. */
  #take(): Uint8Array | undefined {
    const cons = this.#index(Interface.OUT_CONS);
    const available = (this.#index(Interface.OUT_PROD) - cons) >>> 0;
    if (available < SIZE_BYTES) return undefined;
    const header = this.#read(cons, SIZE_BYTES);
    const sizeBytes = new DataView(header.buffer).getUint32(0, true);
    const limit = Math.min(this.#halfBytes, this.#session.maxMessageBytes);
    if (available > this.#halfBytes || sizeBytes < LEAST_MESSAGE_BYTES || sizeBytes > limit) {
      this.#broken = true;
      return undefined;
    }
    if (available < sizeBytes) return undefined;
    const message = this.#read(cons, sizeBytes);
    // The guest may have changed the size in between.
    new DataView(message.buffer).setUint32(0, sizeBytes, true);
    this.#memory.write32(this.#shared.gpa + Interface.OUT_CONS, (cons + sizeBytes) >>> 0);
    return message;
  }

  #read(index: number, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    this.#copy(index, this.#halfBytes, sizeBytes, (gpa, at, partBytes) =>
      bytes.set(this.#memory.readBytes(gpa, partBytes), at),
    );
    return bytes;
  }

  /** Pieces of a half, from a free-running index on, page by page. */
  #copy(
    index: number,
    halfOffset: number,
    sizeBytes: number,
    part: (gpa: number, at: number, sizeBytes: number) => void,
  ): void {
    for (let at = 0; at < sizeBytes; ) {
      const offset = halfOffset + (((index + at) >>> 0) % this.#halfBytes);
      const inPage = offset % PAGE_BYTES;
      const endOfHalf = halfOffset + this.#halfBytes;
      const partBytes = Math.min(sizeBytes - at, PAGE_BYTES - inPage, endOfHalf - offset);
      part(this.#data[Math.floor(offset / PAGE_BYTES)].gpa + inPage, at, partBytes);
      at += partBytes;
    }
  }

  #index(field: number): number {
    return this.#memory.read32(this.#shared.gpa + field);
  }
}
