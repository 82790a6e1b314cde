import { SharedInfo, VcpuInfo, type XenDomain } from '../domain.ts';
import type { Channel, PortOps, Upcalls } from './channel.ts';

/** Ports of a 64-bit guest: 64 selector bits × 64 bits (public/event_channel.h, EVTCHN_2L_NR_CHANNELS). */
export const TWO_LEVEL_PORTS = 4096;

/** The 2-level ABI: pending and mask bitmaps in shared_info, a selector word in each vcpu_info. */
export class TwoLevelPorts implements PortOps {
  readonly name = '2-level';
  readonly portLimit = TWO_LEVEL_PORTS;
  readonly #domain: XenDomain;
  readonly #upcalls: Upcalls;
  readonly #pendingGpa: number;
  readonly #maskGpa: number;

  constructor(domain: XenDomain, upcalls: Upcalls) {
    this.#domain = domain;
    this.#upcalls = upcalls;
    this.#pendingGpa = domain.sharedInfoGpa + SharedInfo.EVENTS_PENDING;
    this.#maskGpa = domain.sharedInfoGpa + SharedInfo.EVENTS_MASK;
  }

  setPending(channel: Channel): void {
    if (this.#domain.memory.testAndSetBit(this.#pendingGpa, channel.port)) return;
    if (!this.#testBit(this.#maskGpa, channel.port)) this.#select(channel);
    this.#upcalls.becamePending(channel.port);
  }

  clearPending(channel: Channel): void {
    this.#domain.memory.testAndClearBit(this.#pendingGpa, channel.port);
  }

  unmask(channel: Channel): void {
    const wasMasked = this.#domain.memory.testAndClearBit(this.#maskGpa, channel.port);
    if (wasMasked && this.#testBit(this.#pendingGpa, channel.port)) this.#select(channel);
  }

  isPending(channel: Channel): boolean {
    return this.#testBit(this.#pendingGpa, channel.port);
  }

  isBusy(): boolean {
    return false;
  }

  setPriority(): boolean {
    return false;
  }

  #select(channel: Channel): void {
    const vcpu = this.#domain.vcpus[channel.vcpu];
    const selected = this.#domain.memory.testAndSetBit(vcpu.vcpuInfoGpa + VcpuInfo.PENDING_SELECTOR, channel.port >> 6);
    if (!selected) this.#upcalls.markPending(vcpu);
  }

  #testBit(bitmapGpa: number, bit: number): boolean {
    return ((this.#domain.memory.read8(bitmapGpa + (bit >> 3)) >> (bit & 7)) & 1) === 1;
  }
}
