import type { PortDevice } from '../../../bus/device.ts';
import type { VirtioCore } from '../core.ts';
import { DeviceStatus, Feature } from '../spec.ts';
import { legacyLayout } from '../virtqueue.ts';
import type { VirtioInterrupts } from './interrupts.ts';
import { readConfig } from './modern.ts';

/** Registers of the interface of 0.9.5 (4.1.4.10). */
const Register = {
  DEVICE_FEATURES: 0,
  DRIVER_FEATURES: 4,
  QUEUE_ADDRESS: 8,
  QUEUE_SIZE: 12,
  QUEUE_SELECT: 14,
  QUEUE_NOTIFY: 16,
  STATUS: 18,
  ISR: 19,
  /** The vectors are there only while MSI-X is on; the device's configuration follows. */
  CONFIG_VECTOR: 20,
  QUEUE_VECTOR: 22,
} as const;
const HEADER_BYTES = 20;
const HEADER_BYTES_WITH_MSIX = 24;
export const LEGACY_BAR_BYTES = 64;
const PAGE_SHIFT = 12;
const LOW_32 = 0xffff_ffffn;

/** The registers of Virtio 0.9.5 behind an I/O BAR. */
export class LegacyRegisters implements PortDevice {
  readonly cycleBytes = 4;
  readonly #core: VirtioCore;
  readonly #interrupts: VirtioInterrupts;
  readonly #usesMsix: () => boolean;
  #queueSelect = 0;

  constructor(core: VirtioCore, interrupts: VirtioInterrupts, usesMsix: () => boolean) {
    this.#core = core;
    this.#interrupts = interrupts;
    this.#usesMsix = usesMsix;
  }

  readPort(offset: number, sizeBytes: number): number {
    const headerBytes = this.#usesMsix() ? HEADER_BYTES_WITH_MSIX : HEADER_BYTES;
    if (offset >= headerBytes) return readConfig(this.#core.model.config, offset - headerBytes, sizeBytes);
    const value = this.#register(offset);
    return sizeBytes === 4 ? value : value & (2 ** (8 * sizeBytes) - 1);
  }

  #register(offset: number): number {
    const queue = this.#core.queues[this.#queueSelect];
    switch (offset) {
      case Register.DEVICE_FEATURES:
        return Number((this.#core.offeredFeatures | (1n << BigInt(Feature.ANY_LAYOUT))) & LOW_32);
      case Register.DRIVER_FEATURES:
        return Number(this.#core.acceptedFeatures & LOW_32);
      case Register.QUEUE_ADDRESS:
        return queue?.enabled ? queue.descriptors / 2 ** PAGE_SHIFT : 0;
      case Register.QUEUE_SIZE:
        return queue?.size ?? 0;
      case Register.QUEUE_SELECT:
        return this.#queueSelect;
      case Register.STATUS:
        return this.#core.status;
      case Register.ISR:
        return this.#interrupts.takeIsr();
      case Register.CONFIG_VECTOR:
        return this.#interrupts.configVector;
      case Register.QUEUE_VECTOR:
        return this.#interrupts.queueVector(this.#queueSelect);
      default:
        return 0;
    }
  }

  writePort(offset: number, sizeBytes: number, value: number): void {
    const headerBytes = this.#usesMsix() ? HEADER_BYTES_WITH_MSIX : HEADER_BYTES;
    if (offset >= headerBytes) {
      this.#core.model.writeConfig?.(offset - headerBytes, sizeBytes, value);
      return;
    }
    switch (offset) {
      case Register.DRIVER_FEATURES:
        this.#core.acceptedFeatures = BigInt(value >>> 0);
        return;
      case Register.QUEUE_ADDRESS:
        this.#placeQueue(value);
        return;
      case Register.QUEUE_SELECT:
        this.#queueSelect = value & 0xffff;
        return;
      case Register.QUEUE_NOTIFY:
        this.#notify(value & 0xffff);
        return;
      case Register.STATUS:
        if ((value & 0xff) === 0) this.#interrupts.reset();
        this.#core.status = value & 0xff;
        return;
      default:
        if (!this.#usesMsix()) return;
        if (offset === Register.CONFIG_VECTOR) this.#interrupts.configVector = value;
        else if (offset === Register.QUEUE_VECTOR) this.#interrupts.setQueueVector(this.#queueSelect, value);
    }
  }

  #placeQueue(pageNumber: number): void {
    const queue = this.#core.queues[this.#queueSelect];
    if (queue === undefined) return;
    const size = this.#core.model.queueSizes[this.#queueSelect];
    Object.assign(queue, legacyLayout(pageNumber * 2 ** PAGE_SHIFT, size), { enabled: pageNumber !== 0 });
  }

  /** Old drivers use a device before they say DRIVER_OK (3.1.2). */
  #notify(queue: number): void {
    const { status } = this.#core;
    if ((status & DeviceStatus.DRIVER) !== 0 && (status & DeviceStatus.DRIVER_OK) === 0) this.#core.startEarly();
    this.#core.notify(queue);
  }
}
