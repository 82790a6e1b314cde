import type { NetworkBackend } from '@polyvisor/plugin-api';
import type { Chain } from '../chain.ts';
import type { DriverLink, VirtioModel } from '../model.ts';
import { DeviceType, Feature as RingFeature } from '../spec.ts';
import { completeChecksum } from './checksum.ts';

/** Virtio 1.2, 5.1. */
const Feature = { CSUM: 0, MTU: 3, MAC: 5, STATUS: 16 } as const;
const Queue = { RECEIVE: 0, TRANSMIT: 1 } as const;
/** flags[1] gso_type[1] hdr_len[2] gso_size[2] csum_start[2] csum_offset[2], and num_buffers[2] since 1.0. */
const Header = {
  FLAGS: 0,
  GSO_TYPE: 1,
  CSUM_START: 6,
  CSUM_OFFSET: 8,
  LEGACY_BYTES: 10,
  NUM_BUFFERS: 10,
  BYTES: 12,
} as const;
const NEEDS_CSUM = 1;
const LINK_UP = 1;
const QUEUE_SIZE = 256;
const CLASS_ETHERNET = 0x020000;
const ETHERNET_HEADER_BYTES = 14;

/** An Ethernet card. NOT IMPLEMENTED: segmentation offload, merged receive buffers, control queue, several queues. */
export class VirtioNet implements VirtioModel {
  readonly name = 'virtio-net';
  readonly type = DeviceType.NET;
  readonly classCode = CLASS_ETHERNET;
  readonly features = [Feature.CSUM, Feature.MTU, Feature.MAC, Feature.STATUS];
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE];
  readonly config = new Uint8Array(12);
  readonly #nic: NetworkBackend;
  #link: DriverLink | undefined;

  constructor(nic: NetworkBackend) {
    this.#nic = nic;
    this.config.set(nic.mac, 0);
    const config = new DataView(this.config.buffer);
    config.setUint16(6, LINK_UP, true);
    config.setUint16(10, nic.mtu, true);
  }

  start(link: DriverLink): void {
    this.#link = link;
    this.#nic.onReceive((frame) => this.#receive(link, frame));
    this.notify(Queue.TRANSMIT);
  }
  stop(): void {
    this.#link = undefined;
    // Nobody is there any more: frames are lost.
    this.#nic.onReceive(() => true);
  }

  notify(queue: number): void {
    if (queue === Queue.RECEIVE) this.#nic.resume();
    else this.#transmit();
  }

  get #headerBytes(): number {
    return this.#link?.has(RingFeature.VERSION_1) ? Header.BYTES : Header.LEGACY_BYTES;
  }

  #transmit(): void {
    const queue = this.#link?.queues[Queue.TRANSMIT];
    const most = ETHERNET_HEADER_BYTES + this.#nic.mtu;
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      if (chain.readableBytes - this.#headerBytes <= most) this.#send(chain);
      queue?.push(chain, 0);
    }
    this.#link?.signal(Queue.TRANSMIT);
  }

  #send(chain: Chain): void {
    const header = chain.read(0, this.#headerBytes);
    const frame = chain.read(this.#headerBytes, chain.readableBytes);
    const view = new DataView(header.buffer);
    // Segmentation was never offered.
    if (frame.length < ETHERNET_HEADER_BYTES || view.getUint8(Header.GSO_TYPE) !== 0) return;
    if ((view.getUint8(Header.FLAGS) & NEEDS_CSUM) !== 0) {
      const start = view.getUint16(Header.CSUM_START, true);
      if (!completeChecksum(frame, start, start + view.getUint16(Header.CSUM_OFFSET, true))) return;
    }
    this.#nic.send(frame);
  }

  /** A frame for the guest; `false`: it has no buffer for it. */
  #receive(link: DriverLink, frame: Uint8Array): boolean {
    let taken = false;
    link.guard(() => {
      const queue = link.queues[Queue.RECEIVE];
      const chain = queue?.pop();
      if (chain === undefined) return;
      taken = true;
      const bytes = new Uint8Array(this.#headerBytes + frame.length);
      if (this.#headerBytes === Header.BYTES) new DataView(bytes.buffer).setUint16(Header.NUM_BUFFERS, 1, true);
      bytes.set(frame, this.#headerBytes);
      // A frame that does not fit is lost.
      queue?.push(chain, bytes.length <= chain.writableBytes ? chain.write(0, bytes) : 0);
      link.signal(Queue.RECEIVE);
    });
    return taken;
  }
}
