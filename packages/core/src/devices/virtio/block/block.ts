import { type BlockBackend, SECTOR_BYTES } from '@polyvisor/plugin-api';
import type { Chain } from '../chain.ts';
import type { DriverLink, VirtioModel } from '../model.ts';
import { DeviceType } from '../spec.ts';

/** Virtio 1.2, 5.2. */
const Feature = { SEG_MAX: 2, READ_ONLY: 5, BLOCK_SIZE: 6, FLUSH: 9 } as const;
const Type = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8 } as const;
const Status = { OK: 0, IO_ERROR: 1, UNSUPPORTED: 2 } as const;
/** type[4] reserved[4] sector[8]; what drivers older than 0.9.5 put behind it is passed over. */
const HEADER_BYTES = 16;
const ID_BYTES = 20;
const CONFIG_BYTES = 24;
const QUEUE_SIZE = 256;
/** Header and status take two descriptors. */
const MOST_SEGMENTS = QUEUE_SIZE - 2;
const CLASS_SCSI = 0x010000;

/** A disk. NOT IMPLEMENTED: discard, write zeroes, several queues, topology. */
export class VirtioBlock implements VirtioModel {
  readonly name: string;
  readonly type = DeviceType.BLOCK;
  readonly classCode = CLASS_SCSI;
  readonly features: readonly number[];
  readonly queueSizes = [QUEUE_SIZE];
  readonly config = new Uint8Array(CONFIG_BYTES);
  readonly #disk: BlockBackend;
  readonly #headerBytes: number;
  #link: DriverLink | undefined;

  /** @param headerBytes of a request, {@link HEADER_BYTES} at least */
  constructor(disk: BlockBackend, headerBytes = HEADER_BYTES) {
    this.#headerBytes = headerBytes;
    this.name = `virtio-blk ${disk.name}`;
    this.#disk = disk;
    this.features = [Feature.SEG_MAX, Feature.BLOCK_SIZE, Feature.FLUSH, ...(disk.readOnly ? [Feature.READ_ONLY] : [])];
    const config = new DataView(this.config.buffer);
    config.setBigUint64(0, BigInt(disk.sizeBytes / SECTOR_BYTES), true);
    config.setUint32(12, MOST_SEGMENTS, true);
    config.setUint32(20, SECTOR_BYTES, true);
  }

  start(link: DriverLink): void {
    this.#link = link;
    this.notify(0);
  }
  stop(): void {
    this.#link = undefined;
  }

  notify(_queue: number): void {
    const queue = this.#link?.queues[0];
    for (let chain = queue?.pop(); chain !== undefined; chain = queue?.pop()) {
      queue?.push(chain, this.#serve(chain));
    }
    this.#link?.signal(0);
  }

  /** Carry out a request; answers the bytes written: data, zero where there is none, and the status in the last of them. */
  #serve(chain: Chain): number {
    // Without room for a status there is nothing to answer.
    if (chain.writableBytes === 0) return 0;
    const answer = new Uint8Array(chain.writableBytes);
    const data = answer.subarray(0, answer.length - 1);
    const header = chain.read(0, HEADER_BYTES);
    const whole = header.length === HEADER_BYTES;
    const status = whole ? this.#perform(chain, new DataView(header.buffer), data) : Status.IO_ERROR;
    if (status !== Status.OK) data.fill(0);
    answer[data.length] = status;
    return chain.write(0, answer);
  }

  /** @param data what the guest is to read; answers the status */
  #perform(chain: Chain, header: DataView, data: Uint8Array): number {
    const offset = Number(header.getBigUint64(8, true)) * SECTOR_BYTES;
    switch (header.getUint32(0, true)) {
      case Type.IN:
        return this.#disk.read(offset, data) ? Status.OK : Status.IO_ERROR;
      case Type.OUT:
        return this.#disk.write(offset, chain.read(this.#headerBytes, chain.readableBytes))
          ? Status.OK
          : Status.IO_ERROR;
      case Type.FLUSH:
        return this.#disk.flush() ? Status.OK : Status.IO_ERROR;
      case Type.GET_ID:
        data.set(new TextEncoder().encode(this.#disk.name).subarray(0, Math.min(ID_BYTES, data.length)));
        return Status.OK;
      default:
        return Status.UNSUPPORTED;
    }
  }
}
