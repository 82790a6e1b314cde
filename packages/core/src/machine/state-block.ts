import type { Segment } from '@polyvisor/plugin-api';
import { readFxsave, writeFxsave } from '../cpu/fxsave-image.ts';
import {
  ARG,
  EFER,
  GPR,
  KERNEL_GS_BASE,
  RIP,
  SEGMENT_ACCESS,
  SEGMENT_BASE,
  SEGMENT_FLOOR,
  SEGMENT_LIMIT,
  SEGMENT_READ_END,
  SEGMENT_SELECTOR,
  SEGMENT_WRITE_END,
  type Slot,
  STATE_SIZE_BYTES,
} from '../cpu/state.ts';
import type { EngineMemory } from '../engine/memory.ts';
import type { CpuMode } from '../isa/modes.ts';
import { AccessRights, cpuMode, FLAT_SEGMENTS, isFlatSegment, segmentBounds } from './cpu-mode.ts';

const EFER_LMA = 1 << 10;
const CS = 1;
const SS = 2;

/** Where slots stand in the state block, as indices of 32-bit words. */
const Word = {
  SEGMENT_SELECTOR: SEGMENT_SELECTOR[0].offset >>> 2,
  SEGMENT_LIMIT: SEGMENT_LIMIT[0].offset >>> 2,
  SEGMENT_ACCESS: SEGMENT_ACCESS[0].offset >>> 2,
  GS_BASE: SEGMENT_BASE[5].offset >>> 2,
  KERNEL_GS_BASE: KERNEL_GS_BASE.offset >>> 2,
  EFER: EFER.offset >>> 2,
  ARG: ARG[0].offset >>> 2,
} as const;

/** A place for a state block in linear memory, and views of what lies there. */
class Place {
  readonly base: number;
  readonly gpr: BigUint64Array;
  readonly gprHalves: Int32Array;
  readonly ripHalves: Int32Array;
  readonly words: Int32Array;

  constructor({ memory: { buffer } }: EngineMemory, base: number) {
    this.base = base;
    this.gpr = new BigUint64Array(buffer, base + GPR[0].offset, 16);
    this.gprHalves = new Int32Array(buffer, base + GPR[0].offset, 32);
    this.ripHalves = new Int32Array(buffer, base + RIP.offset, 2);
    this.words = new Int32Array(buffer, base, STATE_SIZE_BYTES / 4);
  }
}

/** A vCPU's state block: its slots, general registers, RIP, segment registers and x87 and SSE state. */
export class StateBlock {
  gpr!: BigUint64Array;
  gprHalves!: Int32Array;
  ripHalves!: Int32Array;
  /** The block as words. */
  protected words!: Int32Array;
  readonly #memory: EngineMemory;
  readonly #view: DataView;
  #base!: number;
  /** The places that it has been in: seldom more than two. */
  readonly #places: Place[] = [];

  /** @param base where the block begins in linear memory */
  constructor(memory: EngineMemory, base: number) {
    this.#memory = memory;
    this.#view = memory.view;
    this.#lieAt(base);
  }

  #placeAt(base: number): Place {
    let place = this.#places.find((known) => known.base === base);
    if (!place) this.#places.push((place = new Place(this.#memory, base)));
    return place;
  }
  /** The block lies somewhere else from now on; its bytes have been copied. */
  moveTo(base: number): void {
    this.#lieAt(base);
  }
  #lieAt(base: number): void {
    const place = this.#placeAt(base);
    this.#base = base;
    this.gpr = place.gpr;
    this.gprHalves = place.gprHalves;
    this.ripHalves = place.ripHalves;
    this.words = place.words;
  }
  /** Where the block begins in linear memory. */
  get base(): number {
    return this.#base;
  }

  /** A slot as the engine keeps it; for core's own handlers. */
  slot64(slot: Slot): bigint {
    return this.#view.getBigUint64(this.#base + slot.offset, true);
  }
  setSlot64(slot: Slot, value: bigint): void {
    this.#view.setBigUint64(this.#base + slot.offset, value, true);
  }
  /** Half 0 (low) or 1 (high) of a 64-bit slot. */
  slotHalf(slot: Slot, half: number): number {
    return this.words[(slot.offset >>> 2) + half];
  }
  slot32(slot: Slot): number {
    return this.#view.getInt32(this.#base + slot.offset, true);
  }
  setSlot32(slot: Slot, value: number): void {
    this.#view.setInt32(this.#base + slot.offset, value, true);
  }

  /** An argument of the instruction exit: whole, or its low half as an unsigned number. */
  arg(index: number): bigint {
    return this.slot64(ARG[index]);
  }
  arg32(index: number): number {
    return this.words[Word.ARG + 2 * index] >>> 0;
  }

  get rip(): bigint {
    return this.slot64(RIP);
  }
  /** Set when someone moves RIP; the machine clears it before it asks a plug-in. */
  ripMoved = false;
  set rip(value: bigint) {
    this.ripMoved = true;
    this.setSlot64(RIP, value);
  }
  setRip(low: number, high: number): void {
    this.ripMoved = true;
    this.ripHalves[0] = low;
    this.ripHalves[1] = high;
  }
  /** Move RIP on by a few bytes. */
  stepOver(lengthBytes: number): void {
    const low = (this.ripHalves[0] >>> 0) + lengthBytes;
    this.setRip(low, low > 0xffffffff ? this.ripHalves[1] + 1 : this.ripHalves[1]);
  }

  saveFpu(): Uint8Array {
    return readFxsave(this.#view, this.#base);
  }
  restoreFpu(image: Uint8Array): void {
    writeFxsave(this.#view, this.#base, image);
  }

  segment(index: number): Segment {
    return {
      selector: this.slot32(SEGMENT_SELECTOR[index]),
      base: this.slot64(SEGMENT_BASE[index]),
      limit: this.slot32(SEGMENT_LIMIT[index]) >>> 0,
      accessRights: this.slot32(SEGMENT_ACCESS[index]),
    };
  }
  selector(index: number): number {
    return this.words[Word.SEGMENT_SELECTOR + index];
  }
  accessRights(index: number): number {
    return this.words[Word.SEGMENT_ACCESS + index];
  }
  /** Keep a segment and what follows from its limit and rights; {@link codeMode} may be another then. */
  protected keepSegment(index: number, { selector, base, limit, accessRights }: Segment): void {
    const { words } = this;
    words[Word.SEGMENT_SELECTOR + index] = selector & 0xffff;
    this.setSlot64(SEGMENT_BASE[index], base);
    const sameRights = words[Word.SEGMENT_ACCESS + index] === accessRights;
    if (sameRights && words[Word.SEGMENT_LIMIT + index] === (limit | 0)) return;
    words[Word.SEGMENT_LIMIT + index] = limit;
    words[Word.SEGMENT_ACCESS + index] = accessRights;
    const bounds = segmentBounds(limit, accessRights);
    this.#setBound(SEGMENT_FLOOR[index], bounds.floor);
    this.#setBound(SEGMENT_READ_END[index], bounds.readEnd);
    this.#setBound(SEGMENT_WRITE_END[index], bounds.writeEnd);
  }
  /** A number of up to 33 bits. */
  #setBound(slot: Slot, value: number): void {
    this.#view.setUint32(this.#base + slot.offset, value % 2 ** 32, true);
    this.#view.setUint32(this.#base + slot.offset + 4, value === 2 ** 32 ? 1 : 0, true);
  }
  swapGs(): void {
    const { words } = this;
    for (let half = 0; half < 2; half++) {
      const base = words[Word.GS_BASE + half];
      words[Word.GS_BASE + half] = words[Word.KERNEL_GS_BASE + half];
      words[Word.KERNEL_GS_BASE + half] = base;
    }
  }

  /** How code is decoded and what of segments counts, by EFER and the segment registers. */
  protected codeMode(): CpuMode {
    const rights = this.slot32(SEGMENT_ACCESS[CS]);
    if (rights & AccessRights.L && this.words[Word.EFER] & EFER_LMA) return 'long64';
    return cpuMode(rights, this.slot32(SEGMENT_ACCESS[SS]), () => FLAT_SEGMENTS.every((index) => this.#isFlat(index)));
  }
  #isFlat(index: number): boolean {
    return (
      isFlatSegment(index, this.slot32(SEGMENT_LIMIT[index]), this.slot32(SEGMENT_ACCESS[index])) &&
      this.slot32(SEGMENT_BASE[index]) === 0
    );
  }
}
