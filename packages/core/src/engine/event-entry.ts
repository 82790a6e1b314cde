import {
  ARG,
  CR2,
  DIRECT,
  Direct,
  EXIT_RECORD,
  FAULT_ADDRESS,
  FAULT_ERROR_CODE,
  FAULT_VECTOR,
  MMU_FLAGS,
  TLB,
} from '../cpu/state.ts';
import type { CpuMode } from '../isa/modes.ts';
import type { EntryMode } from '../isa/semantics/event-entry.ts';
import { HandlerResult } from './exit-code.ts';
import type { Handlers } from './handlers.ts';
import type { EngineMemory } from './memory.ts';

const PAGE_FAULT = 14;

const isEntryMode = (mode: CpuMode): mode is EntryMode => mode === 'long64' || mode === 'flat32';

/** Where slots stand in the state block, as indices of 32-bit words. */
const Word = {
  ARG: ARG[0].offset >>> 2,
  CR2: CR2.offset >>> 2,
  DIRECT: DIRECT.offset >>> 2,
  EXIT_RECORD: EXIT_RECORD.offset >>> 2,
  FAULT_ADDRESS: FAULT_ADDRESS.offset >>> 2,
  FAULT_ERROR_CODE: FAULT_ERROR_CODE.offset >>> 2,
  FAULT_VECTOR: FAULT_VECTOR.offset >>> 2,
  MMU_FLAGS: MMU_FLAGS.offset >>> 2,
  TLB: TLB.offset >>> 2,
} as const;

export interface EventEntryOptions {
  readonly memory: EngineMemory;
  /** Host address of the state block. */
  readonly base: number;
  readonly handlers: Handlers;
  /** Put RIP at the instruction at which generated code has stopped. */
  rewind(): void;
}

/** Enters the guest's handlers of events by generated code (isa/semantics/event-entry.ts). */
export class EventEntry {
  /** Entered without an exit. */
  pageFaults = 0;
  readonly #words: Int32Array;
  readonly #block: number;
  readonly #handlers: Handlers;
  readonly #rewind: () => void;

  constructor({ memory, base, handlers, rewind }: EventEntryOptions) {
    this.#words = memory.words;
    this.#block = base >>> 2;
    this.#handlers = handlers;
    this.#rewind = rewind;
  }

  /** Guest code has met a fault, which is in the fault slots. False: it is no page fault, or one to be delivered at length. */
  enterPageFault(mode: CpuMode): boolean {
    const words = this.#words;
    const block = this.#block;
    const direct = words[block + Word.DIRECT];
    if (!(direct & (Direct.PAGE_FAULT | Direct.PLUGIN_CODE)) || words[block + Word.FAULT_VECTOR] !== PAGE_FAULT)
      return false;
    if (words[block + Word.EXIT_RECORD] !== 0) this.#rewind();
    const [low, high] = [words[block + Word.FAULT_ADDRESS], words[block + Word.FAULT_ADDRESS + 1]];
    const isEntered =
      direct & Direct.PLUGIN_CODE && isEntryMode(mode) && this.#handlers.pluginPageFault?.() === HandlerResult.jump;
    if (!isEntered && !(direct & Direct.PAGE_FAULT && this.enter(mode, false))) return false;
    words[block + Word.CR2] = low;
    words[block + Word.CR2 + 1] = high;
    this.pageFaults++;
    return true;
  }

  /**
   * Deliver the event that the fault slots hold, from RIP, in the ordinary cases; `software`: INT n, INT3 or INTO. False: it is not one of them,
   * or faults, and nothing has changed.
   */
  enter(mode: CpuMode, software: boolean): boolean {
    if (!isEntryMode(mode)) return false;
    const words = this.#words;
    const block = this.#block;
    words[block + Word.ARG] = software ? 1 : 0;
    const [flags, bank] = [words[block + Word.MMU_FLAGS], words[block + Word.TLB]];
    const [vector, errorCode] = [words[block + Word.FAULT_VECTOR], words[block + Word.FAULT_ERROR_CODE]];
    const [low, high] = [words[block + Word.FAULT_ADDRESS], words[block + Word.FAULT_ADDRESS + 1]];
    if (this.#handlers.eventEntry(mode)() === HandlerResult.jump) return true;
    words[block + Word.MMU_FLAGS] = flags;
    words[block + Word.TLB] = bank;
    words[block + Word.FAULT_VECTOR] = vector;
    words[block + Word.FAULT_ERROR_CODE] = errorCode;
    words[block + Word.FAULT_ADDRESS] = low;
    words[block + Word.FAULT_ADDRESS + 1] = high;
    return false;
  }
}
