import type { MmioDevice } from '../../../bus/device.ts';
import type { PciCapability } from '../../pci/function.ts';
import { CapabilityId } from '../../pci/spec.ts';
import type { QueueSetup, VirtioCore } from '../core.ts';
import type { VirtioInterrupts } from './interrupts.ts';

/** Where the structures lie in the memory BAR. */
const Structure = { COMMON: 0, ISR: 0x1000, DEVICE: 0x2000, NOTIFY: 0x3000 } as const;
const STRUCTURE_BYTES = 0x1000;
export const MODERN_BAR_BYTES = 0x4000;
/** A queue's notification register is its number times this from the start (4.1.4.4). */
const NOTIFY_MULTIPLIER = 4;
/** struct virtio_pci_common_cfg (4.1.4.3). */
const Common = {
  DEVICE_FEATURE_SELECT: 0,
  DEVICE_FEATURE: 4,
  DRIVER_FEATURE_SELECT: 8,
  DRIVER_FEATURE: 12,
  CONFIG_VECTOR: 16,
  NUM_QUEUES: 18,
  STATUS: 20,
  GENERATION: 21,
  QUEUE_SELECT: 22,
  QUEUE_SIZE: 24,
  QUEUE_VECTOR: 26,
  QUEUE_ENABLE: 28,
  QUEUE_NOTIFY_OFF: 30,
  QUEUE_DESC: 32,
  QUEUE_DRIVER: 40,
  QUEUE_DEVICE: 48,
  BYTES: 56,
} as const;
/** cfg_type of virtio_pci_cap (4.1.4). */
const CapType = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI_CFG: 5 } as const;
/** struct virtio_pci_cap; what follows it in the capability for access through configuration space (4.1.4.9). */
const Cap = { BAR: 4, OFFSET: 8, LENGTH: 12, BYTES: 16, ACCESS_DATA: 16 } as const;

/** The capabilities that say where each structure is. */
export function modernCapabilities(bar: number, configBytes: number, registers: MmioDevice): PciCapability[] {
  const whole = (type: number, offset: number, sizeBytes: number, more: readonly number[] = []): PciCapability => {
    const body = new DataView(new ArrayBuffer(Cap.BYTES - 2 + more.length * 4));
    body.setUint8(0, Cap.BYTES + more.length * 4);
    body.setUint8(1, type);
    body.setUint8(Cap.BAR - 2, bar);
    body.setUint32(Cap.OFFSET - 2, offset, true);
    body.setUint32(Cap.LENGTH - 2, sizeBytes, true);
    more.forEach((value, index) => body.setUint32(14 + index * 4, value, true));
    return { id: CapabilityId.vendorSpecific, body: new Uint8Array(body.buffer) };
  };
  return [
    whole(CapType.COMMON, Structure.COMMON, Common.BYTES),
    whole(CapType.NOTIFY, Structure.NOTIFY, STRUCTURE_BYTES, [NOTIFY_MULTIPLIER]),
    whole(CapType.ISR, Structure.ISR, 1),
    ...(configBytes > 0 ? [whole(CapType.DEVICE, Structure.DEVICE, configBytes)] : []),
    { ...whole(CapType.PCI_CFG, 0, 0, [0]), ...accessThroughConfig(bar, registers) },
  ];
}

/** Registers behind the BAR without its address: where and how much the driver writes down, then it uses the data (4.1.4.9). */
function accessThroughConfig(
  bar: number,
  registers: MmioDevice,
): Pick<PciCapability, 'writable' | 'beforeRead' | 'afterWrite'> {
  const writable = new Uint8Array(Cap.BYTES - 2 + 4);
  for (const [at, end] of [
    [Cap.BAR, Cap.BAR + 1],
    [Cap.OFFSET, Cap.ACCESS_DATA + 4],
  ]) {
    writable.fill(0xff, at - 2, end - 2);
  }
  const target = (bytes: DataView) => {
    const offset = bytes.getUint32(Cap.OFFSET, true);
    const sizeBytes = bytes.getUint32(Cap.LENGTH, true);
    const isAccess = sizeBytes === 1 || sizeBytes === 2 || sizeBytes === 4;
    const isInside = isAccess && offset % sizeBytes === 0 && offset + sizeBytes <= MODERN_BAR_BYTES;
    return isInside && bytes.getUint8(Cap.BAR) === bar ? { offset, sizeBytes } : undefined;
  };
  return {
    writable,
    beforeRead(at, _sizeBytes, bytes) {
      const access = at >= Cap.ACCESS_DATA ? target(bytes) : undefined;
      if (access) bytes.setUint32(Cap.ACCESS_DATA, registers.readMmio(access.offset, access.sizeBytes), true);
    },
    afterWrite(at, _sizeBytes, bytes) {
      const access = at >= Cap.ACCESS_DATA ? target(bytes) : undefined;
      if (!access) return;
      const value = bytes.getUint32(Cap.ACCESS_DATA, true);
      registers.writeMmio(
        access.offset,
        access.sizeBytes,
        access.sizeBytes === 4 ? value : value % 2 ** (8 * access.sizeBytes),
      );
    },
  };
}

/** The structures of Virtio 1.x behind a memory BAR. */
export class ModernRegisters implements MmioDevice {
  readonly #core: VirtioCore;
  readonly #interrupts: VirtioInterrupts;
  #deviceSelect = 0;
  #driverSelect = 0;
  #queueSelect = 0;

  constructor(core: VirtioCore, interrupts: VirtioInterrupts) {
    this.#core = core;
    this.#interrupts = interrupts;
  }

  readMmio(offset: number, sizeBytes: number): number {
    const at = offset % STRUCTURE_BYTES;
    switch (offset - at) {
      case Structure.COMMON:
        return this.#readCommon(at, sizeBytes);
      case Structure.ISR:
        return at === 0 ? this.#interrupts.takeIsr() : 0;
      case Structure.DEVICE:
        return readConfig(this.#core.model.config, at, sizeBytes);
      default:
        return 0;
    }
  }

  writeMmio(offset: number, sizeBytes: number, value: number): void {
    const at = offset % STRUCTURE_BYTES;
    if (offset - at === Structure.COMMON) this.#writeCommon(at, sizeBytes, value);
    else if (offset - at === Structure.DEVICE) this.#core.model.writeConfig?.(at, sizeBytes, value);
    else if (offset - at === Structure.NOTIFY) this.#core.notify(Math.floor(at / NOTIFY_MULTIPLIER));
  }

  get #queue(): QueueSetup | undefined {
    return this.#core.queues[this.#queueSelect];
  }

  /** A register, from its first byte on; of an address any part. */
  #readCommon(at: number, sizeBytes: number): number {
    const isAddress = at >= Common.QUEUE_DESC;
    const value = isAddress ? this.#readAddress(at & ~3) >>> (8 * (at & 3)) : this.#commonRegister(at);
    return sizeBytes === 4 ? value : value & (2 ** (8 * sizeBytes) - 1);
  }

  #commonRegister(at: number): number {
    const queue = this.#queue;
    switch (at) {
      case Common.DEVICE_FEATURE_SELECT:
        return this.#deviceSelect;
      case Common.DEVICE_FEATURE:
        return half(this.#core.offeredFeatures, this.#deviceSelect);
      case Common.DRIVER_FEATURE_SELECT:
        return this.#driverSelect;
      case Common.DRIVER_FEATURE:
        return half(this.#core.acceptedFeatures, this.#driverSelect);
      case Common.CONFIG_VECTOR:
        return this.#interrupts.configVector;
      case Common.NUM_QUEUES:
        return this.#core.queues.length;
      case Common.STATUS:
        return this.#core.status;
      case Common.QUEUE_SELECT:
        return this.#queueSelect;
      case Common.QUEUE_SIZE:
        // A queue that there is not has the size 0 (4.1.4.3.1).
        return queue?.size ?? 0;
      case Common.QUEUE_VECTOR:
        return this.#interrupts.queueVector(this.#queueSelect);
      case Common.QUEUE_ENABLE:
        return queue?.enabled ? 1 : 0;
      case Common.QUEUE_NOTIFY_OFF:
        return this.#queueSelect;
      default:
        return 0;
    }
  }

  #readAddress(at: number): number {
    const queue = this.#queue;
    const field = addressField(at);
    if (queue === undefined || field === undefined) return 0;
    return (at & 4) === 0 ? queue[field] % 2 ** 32 : Math.floor(queue[field] / 2 ** 32);
  }

  #writeCommon(at: number, sizeBytes: number, value: number): void {
    const interrupts = this.#interrupts;
    switch (at) {
      case Common.DEVICE_FEATURE_SELECT:
        this.#deviceSelect = value;
        return;
      case Common.DRIVER_FEATURE_SELECT:
        this.#driverSelect = value;
        return;
      case Common.DRIVER_FEATURE:
        this.#core.acceptedFeatures = withHalf(this.#core.acceptedFeatures, this.#driverSelect, value);
        return;
      case Common.CONFIG_VECTOR:
        interrupts.configVector = value;
        return;
      case Common.STATUS:
        if ((value & 0xff) === 0) interrupts.reset();
        this.#core.status = value & 0xff;
        return;
      case Common.QUEUE_SELECT:
        this.#queueSelect = value & 0xffff;
        return;
      case Common.QUEUE_VECTOR:
        interrupts.setQueueVector(this.#queueSelect, value);
        return;
      default:
        this.#writeQueue(at, sizeBytes, value);
    }
  }

  #writeQueue(at: number, sizeBytes: number, value: number): void {
    const queue = this.#queue;
    // An enabled queue is not changed any more (4.1.4.3.2).
    if (queue === undefined || queue.enabled) return;
    if (at === Common.QUEUE_SIZE && sizeBytes === 2) {
      const most = this.#core.model.queueSizes[this.#queueSelect];
      if (value > 0 && value <= most && (value & (value - 1)) === 0) queue.size = value;
    } else if (at === Common.QUEUE_ENABLE && sizeBytes === 2) queue.enabled = value === 1;
    else if (sizeBytes === 4) {
      const field = addressField(at);
      if (field === undefined) return;
      const low = queue[field] % 2 ** 32;
      queue[field] = (at & 4) === 0 ? queue[field] - low + value : value * 2 ** 32 + low;
    }
  }
}

function addressField(at: number): 'descriptors' | 'available' | 'used' | undefined {
  if ((at & 3) !== 0) return undefined;
  const fields = {
    [Common.QUEUE_DESC]: 'descriptors',
    [Common.QUEUE_DRIVER]: 'available',
    [Common.QUEUE_DEVICE]: 'used',
  } as const;
  return fields[(at & ~4) as keyof typeof fields];
}

/** Device configuration; zero beyond its end. */
export function readConfig(config: Uint8Array, at: number, sizeBytes: number): number {
  let value = 0;
  for (let i = 0; i < sizeBytes; i++) value |= (config[at + i] ?? 0) << (8 * i);
  return value >>> 0;
}

/** 32 of the feature bits. */
function half(features: bigint, select: number): number {
  return select > 1 ? 0 : Number((features >> BigInt(32 * select)) & 0xffff_ffffn);
}

function withHalf(features: bigint, select: number, value: number): bigint {
  if (select > 1) return features;
  const shift = BigInt(32 * select);
  return (features & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift);
}
