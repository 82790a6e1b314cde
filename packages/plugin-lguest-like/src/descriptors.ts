/** How a device of the descriptor page is described: as from Linux 2.6.25 on, or as 2.6.24 did (linux/lguest_launcher.h). */
import type { VirtioDevice } from '@polyvisor/plugin-api';

const PAGE_BYTES = 4096;

export interface DescribedQueue {
  readonly gpa: number;
  readonly irq: number;
}

export interface DescriptorFormat {
  /** What an entry has at least. */
  readonly headBytes: number;
  /** Where its status is. */
  readonly statusAt: number;
  readonly blockHeaderBytes: number;
  describe(
    device: VirtioDevice,
    queues: readonly DescribedQueue[],
  ): { readonly bytes: Uint8Array; readonly acceptedAt?: number };
}

/** num[2] irq[2] pfn[4]. */
function queueBytes({ queueSizes }: VirtioDevice, { gpa, irq }: DescribedQueue, index: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setUint16(0, queueSizes[index], true);
  view.setUint16(2, irq, true);
  view.setUint32(4, gpa / PAGE_BYTES, true);
  return new Uint8Array(view.buffer);
}

const FEATURE_BYTES = 4;
const PLAIN_HEAD_BYTES = 5;

/** type[1] num_vq[1] feature_len[1] config_len[1] status[1], then queues, features twice, and the configuration. */
export const PLAIN: DescriptorFormat = {
  headBytes: PLAIN_HEAD_BYTES,
  statusAt: 4,
  blockHeaderBytes: 16,
  describe(device, queues) {
    const features = new DataView(new ArrayBuffer(2 * FEATURE_BYTES));
    features.setUint32(0, device.features >>> 0, true);
    const parts = queues.map((queue, index) => queueBytes(device, queue, index));
    const head = [device.type, queues.length, FEATURE_BYTES, device.config.length, 0];
    const bytes = [
      ...head,
      ...parts.flatMap((part) => [...part]),
      ...new Uint8Array(features.buffer),
      ...device.config,
    ];
    const acceptedAt = PLAIN_HEAD_BYTES + parts.length * 8 + FEATURE_BYTES;
    return { bytes: Uint8Array.from(bytes), acceptedAt };
  },
};

/** VIRTIO_CONFIG_F_VIRTQUEUE, VIRTIO_CONFIG_BLK_F_* and VIRTIO_CONFIG_NET_MAC_F of 2.6.24. */
const Field = { QUEUE: 2, BLOCK_CAPACITY: 0x41, BLOCK_MOST_SEGMENTS: 0x43, NET_MAC: 0x41 } as const;
const NET = 1;
const BLOCK = 2;

/** A device's configuration as fields; kinds that 2.6.24 does not know have none. No feature is offered. */
function configFields({ type, config }: VirtioDevice): [field: number, bytes: Uint8Array][] {
  if (type === NET) return [[Field.NET_MAC, config.subarray(0, 6)]];
  if (type !== BLOCK) return [];
  return [
    [Field.BLOCK_CAPACITY, config.subarray(0, 8)],
    [Field.BLOCK_MOST_SEGMENTS, config.subarray(12, 16)],
  ];
}

/** type[1] config_len[1] status[1], then fields: type[1] len[1] and so many bytes. */
export const TYPED_FIELDS: DescriptorFormat = {
  headBytes: 3,
  statusAt: 2,
  blockHeaderBytes: 24,
  describe(device, queues) {
    const fields = [
      ...queues.map((queue, index) => [Field.QUEUE, queueBytes(device, queue, index)] as const),
      ...configFields(device),
    ].flatMap(([field, bytes]) => [field, bytes.length, ...bytes]);
    return { bytes: Uint8Array.from([device.type, fields.length, 0, ...fields]) };
  },
};
