import { modeFacts } from '../isa/modes.ts';
import { endsInCall, LONGEST_CALL_BYTES } from './call-site.ts';
import type { MachineMemory } from './guest-memory.ts';
import type { MachineVcpu } from './vcpu.ts';

/** Where a vCPU was when a sample was due. */
export interface GuestSample {
  readonly vcpu: number;
  /** Executed by all vCPUs since the last sample: what this one stands for. */
  readonly instructions: number;
  readonly cpl: number;
  readonly cr3: bigint;
  readonly rip: bigint;
  /** Return addresses, innermost first, as far as frame pointers lead; often none. */
  readonly callers: readonly bigint[];
}

/** Instructions between samples: at least, and how many numbers there are from there on. */
const INTERVAL = { least: 20_000, choices: 40_001 } as const;
/** Start of the sequence of intervals: the same in each run. */
const SEED = 0x2545f491;
const MOST_CALLERS = 64;
/** A frame lies above the stack pointer, and no farther than a kernel's stack is large, with room to spare. */
const FARTHEST_FRAME_BYTES = 64n << 10n;
const PAGE_BYTES = 4096;

/**
 * Looks where the guest is, every so many instructions. Intervals vary, so that they do not keep step with a loop of the
 * guest, but are the same in each run. A turn of the engine ends where a sample is due, at the next branch; so a sample
 * stands at the start of a straight run of code. Looking changes nothing in the guest: no accessed bit, no TLB entry.
 *
 * Callers are found by frame pointers (RBP, System V AMD64 ABI, 3.2.2) where what they lead to looks like frames: above
 * the stack pointer, in rising order, each with an address that follows a call. NOT IMPLEMENTED: unwinding by ORC or
 * DWARF tables, which kernels without frame pointers would need; of those the innermost function is told alone.
 */
export class Sampler {
  readonly #memory: MachineMemory;
  readonly #onSample: (sample: GuestSample) => void;
  #random = SEED;
  #interval: number;
  #untilNext: number;

  constructor(memory: MachineMemory, onSample: (sample: GuestSample) => void) {
    this.#memory = memory;
    this.#onSample = onSample;
    this.#interval = this.#nextInterval();
    this.#untilNext = this.#interval;
  }

  /** Instructions until the next sample is due, at least 1. */
  get untilNext(): number {
    return Math.max(1, this.#untilNext);
  }
  executed(instructions: number): void {
    this.#untilNext -= instructions;
  }

  /** Takes a sample of `vcpu`, which has just had its turn, if one is due. */
  look(vcpu: MachineVcpu): void {
    if (this.#untilNext > 0) return;
    const instructions = this.#interval - this.#untilNext;
    const { id, cpl, cr3, rip } = vcpu;
    this.#onSample({ vcpu: id, instructions, cpl, cr3, rip, callers: this.#callers(vcpu) });
    this.#interval = this.#nextInterval();
    this.#untilNext = this.#interval;
  }

  /** Marsaglia, "Xorshift RNGs" (2003): 32 bits, shifts 13, 17, 5. */
  #nextInterval(): number {
    this.#random ^= this.#random << 13;
    this.#random ^= this.#random >>> 17;
    this.#random ^= this.#random << 5;
    return INTERVAL.least + ((this.#random >>> 0) % INTERVAL.choices);
  }

  #callers(vcpu: MachineVcpu): bigint[] {
    const callers: bigint[] = [];
    const { mode } = vcpu.engine;
    if (modeFacts(mode).codeBits === 16) return callers;
    const word = mode === 'long64' ? 8 : 4;
    const [stackPointer, first] = [vcpu.gpr[4], vcpu.gpr[5]];
    let least = stackPointer;
    for (let frame = first; callers.length < MOST_CALLERS; ) {
      if (frame < least || frame - stackPointer > FARTHEST_FRAME_BYTES || frame % BigInt(word) !== 0n) break;
      const next = this.#word(vcpu, frame, word);
      const caller = this.#word(vcpu, frame + BigInt(word), word);
      if (next === undefined || caller === undefined || !this.#followsCall(vcpu, caller)) break;
      callers.push(caller);
      least = frame + 1n;
      frame = next;
    }
    return callers;
  }

  #followsCall(vcpu: MachineVcpu, address: bigint): boolean {
    const before = this.#read(vcpu, address - BigInt(LONGEST_CALL_BYTES), LONGEST_CALL_BYTES);
    return before !== undefined && endsInCall(before);
  }

  #word(vcpu: MachineVcpu, gva: bigint, sizeBytes: number): bigint | undefined {
    const bytes = this.#read(vcpu, gva, sizeBytes);
    if (!bytes) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, sizeBytes);
    return sizeBytes === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
  }

  /** Guest-virtual memory by a walk that leaves no trace; `undefined`: not mapped, or not RAM. */
  #read(vcpu: MachineVcpu, gva: bigint, sizeBytes: number): Uint8Array | undefined {
    const bytes = new Uint8Array(sizeBytes);
    for (let done = 0; done < sizeBytes; ) {
      const at = BigInt.asUintN(64, gva + BigInt(done));
      const chunk = Math.min(sizeBytes - done, PAGE_BYTES - Number(at & 0xfffn));
      const where = vcpu.translate(at, 'read', { as: 'supervisor' });
      if (!where.ok || where.gpa + chunk > this.#memory.sizeBytes) return undefined;
      bytes.set(this.#memory.readBytes(where.gpa, chunk), done);
      done += chunk;
    }
    return bytes;
  }
}
