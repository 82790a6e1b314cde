import type { NetworkBackend } from '@polyvisor/plugin-api';
import { PAGE_BYTES } from '../layout.ts';
import type { Connection, DeviceModel, FrontendNodes } from './backendDevice.ts';
import { BackRing } from './backRing.ts';
import { completeChecksum } from './checksum.ts';
import type { ForeignPages, MappedPage } from './foreignPages.ts';
import { type HeldPort, type Host, holdPort } from './host.ts';

/** NETTXF_* (public/io/netif.h). */
const TX_CSUM_BLANK = 1;
const TX_MORE_DATA = 4;
const TX_EXTRA_INFO = 8;
/** XEN_NETIF_EXTRA_FLAG_MORE, in the second byte of an extra-info slot. */
const EXTRA_MORE = 1;
/** NETIF_RSP_*; a received frame's status is its size instead. */
const Status = { OKAY: 0, ERROR: -1, NULL: 1 } as const;

const TX_ENTRY_BYTES = 12;
const RX_ENTRY_BYTES = 8;
const ETHERNET_HEADER_BYTES = 14;

/**
 * A network interface for a guest, by the split network protocol: one queue, receiving by copy.
 * NOT IMPLEMENTED: scatter-gather, segmentation offload, multicast control, control ring, several queues.
 */
export function networkDevice(host: Host, nic: NetworkBackend, index: number): DeviceModel {
  const mac = [...nic.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  return {
    type: 'vif',
    id: index,
    backendNodes: {
      handle: String(index),
      mac,
      'feature-rx-copy': '1',
      'feature-rx-flip': '0',
      'feature-sg': '0',
      'feature-gso-tcpv4': '0',
      'feature-gso-tcpv6': '0',
      'feature-split-event-channels': '0',
      'hotplug-status': 'connected',
    },
    frontendNodes: { handle: String(index), mac, mtu: String(nic.mtu) },
    connect: (frontend) => connect(host, nic, frontend),
  };
}

function connect(host: Host, nic: NetworkBackend, frontend: FrontendNodes): Connection | string {
  const refs = [frontend.number('tx-ring-ref'), frontend.number('rx-ring-ref')];
  const port = frontend.number('event-channel');
  if (refs.includes(undefined) || port === undefined) return 'no tx-ring-ref, rx-ring-ref or event-channel';
  if (frontend.number('request-rx-copy') !== 1) return 'the frontend does not receive by copy';
  const pages = host.pages.mapAll(refs as number[]);
  if (pages === undefined) return `ring pages ${refs.join(' and ')} are not granted`;
  const server = new NetworkServer(host, nic, pages);
  const channel = holdPort(host, port, () => server.serve());
  if (channel === undefined) {
    for (const page of pages) page.release();
    return `event channel ${port} cannot be bound`;
  }
  server.start(channel);
  return {
    disconnect: () => {
      server.stop();
      channel.close();
      for (const page of pages) page.release();
    },
  };
}

/** Moves frames between one pair of rings and the link. */
class NetworkServer {
  readonly #host: Host;
  readonly #nic: NetworkBackend;
  readonly #pages: ForeignPages;
  readonly #tx: BackRing;
  readonly #rx: BackRing;
  #channel: HeldPort | undefined;

  constructor(host: Host, nic: NetworkBackend, [tx, rx]: readonly MappedPage[]) {
    this.#host = host;
    this.#nic = nic;
    this.#pages = host.pages;
    this.#tx = new BackRing(host.memory, tx.gpa, TX_ENTRY_BYTES);
    this.#rx = new BackRing(host.memory, rx.gpa, RX_ENTRY_BYTES);
  }

  start(channel: HeldPort): void {
    this.#channel = channel;
    this.#nic.onReceive((frame) => this.#receive(frame));
    this.serve();
  }

  stop(): void {
    this.#channel = undefined;
    // Nobody is there any more: frames are lost.
    this.#nic.onReceive(() => true);
  }

  /** The guest has put frames into one ring, or buffers into the other. */
  serve(): void {
    for (let slot = this.#tx.next(); slot !== undefined; slot = this.#tx.next()) this.#transmit(slot);
    if (this.#tx.push()) this.#channel?.notify();
    this.#nic.resume();
    if (this.#tx.broken || this.#rx.broken) this.#host.brokenRing('vif');
  }

  /** One frame of the guest's, with the slots that belong to it; each of them is answered. */
  #transmit(first: DataView): void {
    const flags = first.getUint16(6, true);
    const answers = [first.getUint16(8, true)];
    let whole = (flags & TX_EXTRA_INFO) === 0;
    for (let more = !whole; more; ) {
      const extra = this.#tx.next();
      if (extra === undefined) break;
      this.#respond(0, Status.NULL);
      more = (extra.getUint8(1) & EXTRA_MORE) !== 0;
    }
    for (let more = (flags & TX_MORE_DATA) !== 0; more; ) {
      whole = false;
      const slot = this.#tx.next();
      if (slot === undefined) break;
      answers.push(slot.getUint16(8, true));
      more = (slot.getUint16(6, true) & TX_MORE_DATA) !== 0;
    }
    const sent = whole && this.#send(first, flags);
    for (const id of answers) this.#respond(id, sent ? Status.OKAY : Status.ERROR);
  }

  #respond(id: number, status: number): void {
    const response = new DataView(new ArrayBuffer(4));
    response.setUint16(0, id, true);
    response.setInt16(2, status, true);
    this.#tx.respond(new Uint8Array(response.buffer));
  }

  #send(slot: DataView, flags: number): boolean {
    const offset = slot.getUint16(4, true);
    const sizeBytes = slot.getUint16(10, true);
    if (sizeBytes < ETHERNET_HEADER_BYTES || offset + sizeBytes > PAGE_BYTES) return false;
    const frame = this.#pages.read(slot.getUint32(0, true), offset, sizeBytes);
    if (frame === undefined) return false;
    if ((flags & TX_CSUM_BLANK) !== 0 && !completeChecksum(frame)) return false;
    this.#nic.send(frame);
    return true;
  }

  /** A frame for the guest; `false`: the guest has no buffer for it. */
  #receive(frame: Uint8Array): boolean {
    const request = this.#rx.next();
    if (request === undefined) return false;
    const id = request.getUint16(0, true);
    const ref = request.getUint32(4, true);
    const done = frame.length <= PAGE_BYTES && this.#pages.write(ref, 0, frame);
    const response = new DataView(new ArrayBuffer(RX_ENTRY_BYTES));
    response.setUint16(0, id, true);
    response.setInt16(6, done ? frame.length : Status.ERROR, true);
    this.#rx.respond(new Uint8Array(response.buffer));
    if (this.#rx.push()) this.#channel?.notify();
    return true;
  }
}
