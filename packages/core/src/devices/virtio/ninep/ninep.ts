import type { ShareBackend, ShareSession } from '@polyvisor/plugin-api';
import type { DriverLink, VirtioModel } from '../model.ts';
import { DeviceType } from '../spec.ts';

/** VIRTIO_9P_MOUNT_TAG (Virtio 1.3, 5.20). */
const MOUNT_TAG = 0;
const QUEUE_SIZE = 128;
const CLASS_OTHER = 0x018000;
/** size[4] of a 9P message. */
const SIZE_BYTES = 4;

/** A folder of the host's, by 9P (Virtio 1.3, 5.20). */
export class VirtioNinep implements VirtioModel {
  readonly name: string;
  readonly type = DeviceType.NINEP;
  readonly classCode = CLASS_OTHER;
  readonly features = [MOUNT_TAG];
  readonly queueSizes = [QUEUE_SIZE];
  readonly config: Uint8Array;
  readonly #share: ShareBackend;
  #session: ShareSession | undefined;
  #link: DriverLink | undefined;

  constructor(share: ShareBackend) {
    this.name = `virtio-9p ${share.tag}`;
    this.#share = share;
    const tag = new TextEncoder().encode(share.tag);
    this.config = Uint8Array.of(tag.length & 0xff, tag.length >> 8, ...tag);
  }

  start(link: DriverLink): void {
    this.#link = link;
    this.#session = this.#share.connect();
    this.notify(0);
  }
  stop(): void {
    this.#link = undefined;
    this.#session?.close();
    this.#session = undefined;
  }

  notify(_queue: number): void {
    const queue = this.#link?.queues[0];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      const request = wholeMessage(chain.read(0, chain.readableBytes));
      const reply = this.#session?.request(request) ?? new Uint8Array(0);
      queue?.push(chain, chain.write(0, reply));
    }
    this.#link?.signal(0);
  }
}

/** The message itself, where a driver's buffers are longer than it. */
function wholeMessage(bytes: Uint8Array): Uint8Array {
  if (bytes.length < SIZE_BYTES) return bytes;
  const sizeBytes = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return bytes.subarray(0, Math.min(bytes.length, sizeBytes));
}
