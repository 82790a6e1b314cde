import type { XenDomain, XenVcpu } from '../domain.ts';
import { EINVAL, ENOSPC } from '../errno.ts';
import { type Channel, DEFAULT_PRIORITY, type PortOps, type Upcalls } from './channel.ts';

/** Bits of an event word (public/event_channel.h, "FIFO ABI"). */
const Word = { PENDING: 31, MASKED: 30, LINKED: 29, BUSY: 28, LINK_MASK: 0x1ffff } as const;
export const FIFO_LINK_BITS = 17;
const FIFO_PORTS = 1 << FIFO_LINK_BITS;
export const MIN_PRIORITY = 15;
const QUEUES = MIN_PRIORITY + 1;
const PAGE_BYTES = 4096;
const WORDS_PER_PAGE = PAGE_BYTES / 4;

/** struct evtchn_fifo_control_block: ready, reserved, head[16]. */
const CONTROL_BLOCK_BYTES = 8 + QUEUES * 4;
const HEADS_OFFSET = 8;

/** How often a tail's link is tried again while the guest changes the word under us. */
const LINK_ATTEMPTS = 4;

interface VcpuQueues {
  readonly controlMfn: number;
  readonly controlGpa: number;
  /** Last port on each queue, 0 = empty. */
  readonly tails: Uint32Array;
}

/**
 * The FIFO ABI: one word a port in pages of the guest's, linked into 16 queues a vCPU. The guest may write
 * anything into the words; they are only ever followed as port numbers below the array's size.
 */
export class FifoPorts implements PortOps {
  readonly name = 'fifo';
  readonly #domain: XenDomain;
  readonly #upcalls: Upcalls;
  readonly #queues: (VcpuQueues | undefined)[];
  readonly #arrayMfns: number[] = [];

  constructor(domain: XenDomain, upcalls: Upcalls) {
    this.#domain = domain;
    this.#upcalls = upcalls;
    this.#queues = domain.vcpus.map(() => undefined);
  }

  /** Ports may be bound before their array page exists; they are recorded when it comes. */
  get portLimit(): number {
    return FIFO_PORTS;
  }

  /** Ports that have a word now. */
  get wordCount(): number {
    return this.#arrayMfns.length * WORDS_PER_PAGE;
  }

  /** EVTCHNOP_init_control for one vCPU; answers an errno. */
  addControlBlock(vcpu: XenVcpu, mfn: number, offset: number): bigint {
    if (this.#queues[vcpu.id] !== undefined) return EINVAL;
    if (offset > PAGE_BYTES - CONTROL_BLOCK_BYTES || (offset & 7) !== 0) return EINVAL;
    if (!this.#take(mfn)) return EINVAL;
    const controlGpa = mfn * PAGE_BYTES + offset;
    for (let queue = 0; queue < QUEUES; queue++) this.#domain.memory.write32(controlGpa + HEADS_OFFSET + queue * 4, 0);
    this.#queues[vcpu.id] = { controlMfn: mfn, controlGpa, tails: new Uint32Array(QUEUES) };
    return 0n;
  }

  /** EVTCHNOP_expand_array: one more page of words; answers an errno. */
  addArrayPage(mfn: number): bigint {
    if (this.wordCount >= FIFO_PORTS) return ENOSPC;
    if (!this.#take(mfn)) return EINVAL;
    this.#arrayMfns.push(mfn);
    return 0n;
  }

  /** Give all pages back to the guest. */
  release(): void {
    for (const queues of this.#queues) if (queues) this.#domain.mm.releaseWritable(queues.controlMfn);
    for (const mfn of this.#arrayMfns) this.#domain.mm.releaseWritable(mfn);
    this.#queues.fill(undefined);
    this.#arrayMfns.length = 0;
  }

  setPending(channel: Channel): void {
    const { memory } = this.#domain;
    const wordGpa = this.#wordGpa(channel.port);
    if (wordGpa === undefined) {
      channel.pendingUnrecorded = true;
      return;
    }
    const queues = this.#queues[channel.vcpu];
    if (queues === undefined) return;
    const wasPending = memory.testAndSetBit(wordGpa, Word.PENDING);
    const mustLink = !this.#test(wordGpa, Word.MASKED) && !memory.testAndSetBit(wordGpa, Word.LINKED);
    if (mustLink) this.#link(channel, queues);
    if (!wasPending) this.#upcalls.becamePending(channel.port);
  }

  clearPending(channel: Channel): void {
    const wordGpa = this.#wordGpa(channel.port);
    channel.pendingUnrecorded = false;
    if (wordGpa !== undefined) this.#domain.memory.testAndClearBit(wordGpa, Word.PENDING);
  }

  unmask(channel: Channel): void {
    const wordGpa = this.#wordGpa(channel.port);
    if (wordGpa === undefined) return;
    this.#domain.memory.testAndClearBit(wordGpa, Word.MASKED);
    if (this.#test(wordGpa, Word.PENDING)) this.setPending(channel);
  }

  isPending(channel: Channel): boolean {
    const wordGpa = this.#wordGpa(channel.port);
    return wordGpa !== undefined && this.#test(wordGpa, Word.PENDING);
  }

  isBusy(channel: Channel): boolean {
    const wordGpa = this.#wordGpa(channel.port);
    return wordGpa !== undefined && this.#test(wordGpa, Word.LINKED);
  }

  /** Takes effect when the event is next put on a queue. */
  setPriority(channel: Channel, priority: number): boolean {
    channel.priority = priority;
    return true;
  }

  /** Put a port, whose LINKED bit was just set, at its queue's end. */
  #link(channel: Channel, queues: VcpuQueues): void {
    const { memory } = this.#domain;
    const { priority, port } = channel;
    // A tail of the queue it was on before must not be linked to from there: that queue is empty now.
    const old = this.#queues[channel.queueVcpu];
    if (old !== undefined && old.tails[channel.queuePriority] === port) old.tails[channel.queuePriority] = 0;
    channel.queueVcpu = channel.vcpu;
    channel.queuePriority = priority;

    const tail = queues.tails[priority];
    const linked = tail !== 0 && this.#linkAfter(tail, port);
    queues.tails[priority] = port;
    if (linked) return;
    memory.write32(queues.controlGpa + HEADS_OFFSET + priority * 4, port);
    const wasReady = memory.testAndSetBit(queues.controlGpa, priority);
    if (!wasReady) this.#upcalls.markPending(this.#domain.vcpus[channel.vcpu]);
  }

  /** Set the LINK field of `tail` to `port` if `tail` is still on the queue. */
  #linkAfter(tail: number, port: number): boolean {
    const wordGpa = this.#wordGpa(tail);
    if (wordGpa === undefined) return false;
    const { words } = this.#domain.memory;
    const index = wordGpa / 4;
    for (let attempt = 0; attempt < LINK_ATTEMPTS; attempt++) {
      const word = Atomics.load(words, index);
      if (((word >>> Word.LINKED) & 1) === 0) return false;
      const linked = (word & ~(1 << Word.BUSY) & ~Word.LINK_MASK) | port;
      if (Atomics.compareExchange(words, index, word, linked) === word) return true;
    }
    return false;
  }

  #take(mfn: number): boolean {
    return this.#domain.mm.isGuestFrame(mfn) && this.#domain.mm.takeWritable(mfn);
  }

  #wordGpa(port: number): number | undefined {
    const mfn = this.#arrayMfns[Math.floor(port / WORDS_PER_PAGE)];
    return mfn === undefined ? undefined : mfn * PAGE_BYTES + (port % WORDS_PER_PAGE) * 4;
  }

  #test(wordGpa: number, bit: number): boolean {
    return ((this.#domain.memory.read32(wordGpa) >>> bit) & 1) === 1;
  }
}

/** A port starts on the default queue of vCPU 0 and has never been queued. */
export function resetFifoState(channel: Channel): void {
  channel.priority = DEFAULT_PRIORITY;
  channel.pendingUnrecorded = false;
}
