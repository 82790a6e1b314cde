import type { XenDomain } from '../domain.ts';
import type { Channel, PortOps, Upcalls } from './channel.ts';

/**
 * The 2-level ABI: pending and mask bitmaps in shared_info, a selector word in each vcpu_info, as many ports as a word
 * of words has bits (public/event_channel.h, EVTCHN_2L_NR_CHANNELS).
 */
export class TwoLevelPorts implements PortOps {
  readonly name = '2-level';
  readonly #domain: XenDomain;
  readonly #upcalls: Upcalls;

  constructor(domain: XenDomain, upcalls: Upcalls) {
    this.#domain = domain;
    this.#upcalls = upcalls;
  }

  get portLimit(): number {
    return this.#domain.shared.twoLevelPorts;
  }
  get #pendingGpa(): number {
    return this.#domain.sharedInfoGpa + this.#domain.shared.eventsPending;
  }
  get #maskGpa(): number {
    return this.#domain.sharedInfoGpa + this.#domain.shared.eventsMask;
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
    const { memory, shared, vcpus } = this.#domain;
    const vcpu = vcpus[channel.vcpu];
    const selector = vcpu.vcpuInfoGpa + shared.vcpuPendingSelector;
    const selected = memory.testAndSetBit(selector, channel.port >> shared.selectorShift);
    if (!selected) this.#upcalls.markPending(vcpu);
  }

  #testBit(bitmapGpa: number, bit: number): boolean {
    return ((this.#domain.memory.read8(bitmapGpa + (bit >> 3)) >> (bit & 7)) & 1) === 1;
  }
}
