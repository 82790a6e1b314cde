import { type CodeOp, type CodePlace, type GuestCells, PolyvisorError } from '@polyvisor/plugin-api';
import type { SharedCells } from '../machine/shared-cells.ts';
import { GateOffset } from './code.ts';
import type { LiveSlot } from './live-slot.ts';
import type { Implementation, TextPlace } from './module.ts';
import type { PlannedOp } from './plan.ts';
import type { RunningKernel } from './running-kernel.ts';
import type { TextMemory } from './text-memory.ts';

/** Longest code of an operation, and most memory of its own. */
const MOST_BYTES = 256;
const MOST_DATA_BYTES = 256;
const CELLS_BYTES = 16;
/** Where each cell stands in the block of them. */
const CELL_OFFSETS: Readonly<Record<keyof typeof GuestCells, number>> = { interruptsOff: 0, interruptWaits: 1, cr2: 8 };

interface Surroundings {
  readonly gate: bigint;
  readonly native: bigint;
  readonly previous: bigint;
}

interface Placed {
  readonly gva: bigint;
  /** Memory of its own. */
  readonly data: TextPlace | undefined;
}

/** Operations in machine code, in the guest. The same operation, loaded again, stands where it stood. */
export class OpCode {
  readonly #cells: SharedCells;
  readonly #kernel: RunningKernel;
  readonly #text: TextMemory;
  readonly #cellsGva: bigint;
  readonly #placed = new Map<CodeOp, Placed>();

  constructor(kernel: RunningKernel, text: TextMemory) {
    this.#kernel = kernel;
    this.#text = text;
    const { gpa, gva } = text.allocateData(CELLS_BYTES);
    this.#cellsGva = gva;
    this.#cells = {
      interruptsOff: gpa + CELL_OFFSETS.interruptsOff,
      interruptWaits: gpa + CELL_OFFSETS.interruptWaits,
      cr2: gpa + CELL_OFFSETS.cr2,
    };
  }

  /**
   * Whether what a module makes of a slot is not worth a call. Of an operation: not all of the exits that it is for leave guest code.
   * Of a nop: the kernel's own is one, and stands in its sites without a call.
   */
  isNeedless(planned: PlannedOp<Implementation>, { slot, native, previous }: LiveSlot): boolean {
    if (planned.state === 'nop') return slot.implementation.kind === 'nop' && previous === native;
    const op = planned.state === 'own' ? planned.implementation : undefined;
    if (typeof op !== 'object') return false;
    const { machine } = this.#kernel;
    return op.avoids !== undefined && !op.avoids.every((kind) => machine.leaves(kind));
  }

  /** Whether guest and machine share the cells. */
  get isSharing(): boolean {
    return this.#isSharing;
  }
  share(on: boolean): void {
    this.#isSharing = on;
    for (const vcpu of this.#kernel.machine.vcpus) vcpu.shareCells(on ? this.#cells : undefined);
  }
  #isSharing = false;
  /** Whether an address, of which these are the halves, is in code that looks at the cells; it must not run once they are not kept any more. */
  isWithinSharing(low: number, high: number): boolean {
    const gva = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    return this.#sharing.some((first) => gva >= first && gva < first + BigInt(MOST_BYTES));
  }
  readonly #sharing: bigint[] = [];

  /** Whether an operation's code asks where a cell is. What it throws is thrown here. */
  sharesState(op: Implementation): boolean {
    if (typeof op !== 'object') return false;
    let asked = false;
    const cells = this.#cellPlaces(() => {
      asked = true;
    });
    const somewhere = this.#cellsGva;
    const surroundings = { gate: somewhere, native: somewhere, previous: somewhere };
    op.code({ ...this.#placeAt(somewhere, surroundings, op, somewhere), cells });
    return asked;
  }

  /** Where the sites of a slot are to lead for what a module makes of it. Throws PV5018 and PV5013 as placing code does. */
  targetOf(planned: PlannedOp<Implementation>, { gate, native, previous }: Surroundings): bigint {
    if (planned.state === 'nop') return gate + BigInt(GateOffset.done);
    if (planned.state === 'native') return native;
    if (planned.state === 'forgotten') return previous;
    const implementation = planned.state === 'own' ? planned.implementation : undefined;
    if (typeof implementation === 'bigint') return implementation;
    if (typeof implementation === 'object') return this.#load(implementation, { gate, native, previous }).gva;
    return gate + BigInt(GateOffset.trap);
  }

  /** Guest-physical address of an operation's own memory, if it has any. */
  dataOf(planned: PlannedOp<Implementation>): number | undefined {
    const op = planned.state === 'own' ? planned.implementation : undefined;
    return typeof op === 'object' ? this.#placed.get(op)?.data?.gpa : undefined;
  }

  /** Answers where it stands; its memory is as at first. Throws what placing throws. */
  #load(op: CodeOp, surroundings: Surroundings): Placed {
    const known = this.#placed.get(op) ?? this.#place(op, surroundings);
    if (known.data) this.#kernel.machine.memory.fill(known.data.gpa, known.data.sizeBytes, 0);
    return known;
  }
  /** Throws PV5018 for what is no code of a fair size or wants too much memory, PV5013. */
  #place(op: CodeOp, surroundings: Surroundings): Placed {
    const { dataBytes = 0 } = op;
    if (!Number.isInteger(dataBytes) || dataBytes < 0 || dataBytes > MOST_DATA_BYTES) {
      const what = `an operation wants ${dataBytes} bytes of memory, of 0 to ${MOST_DATA_BYTES}`;
      throw new PolyvisorError('PV5018', what, 'let it have less', 10);
    }
    const data = dataBytes > 0 ? this.#text.allocateData(dataBytes) : undefined;
    const { gva, gpa } = this.#text.allocateText(MOST_BYTES);
    const code = op.code(this.#placeAt(gva, surroundings, op, data?.gva ?? 0n));
    if (!(code instanceof Uint8Array) || code.length === 0 || code.length > MOST_BYTES) {
      throw new PolyvisorError('PV5018', `an operation has no code of 1 to ${MOST_BYTES} bytes`, 'make it shorter', 10);
    }
    this.#kernel.machine.memory.writeBytes(gpa, code);
    const placed = { gva, data };
    this.#placed.set(op, placed);
    if (this.sharesState(op)) this.#sharing.push(gva);
    return placed;
  }

  #placeAt(address: bigint, { gate, native, previous }: Surroundings, op: CodeOp, data: bigint): CodePlace {
    const trap = op.trap ? gate + BigInt(GateOffset.trap) : previous;
    const { wordBytes } = this.#kernel;
    return { wordBytes, address, previous, native, trap, data, cells: this.#cellPlaces(() => {}) };
  }

  #cellPlaces(onAsked: () => void): CodePlace['cells'] {
    const place = (name: keyof typeof GuestCells) => {
      onAsked();
      return this.#cellsGva + BigInt(CELL_OFFSETS[name]);
    };
    return {
      get interruptsOff() {
        return place('interruptsOff');
      },
      get interruptWaits() {
        return place('interruptWaits');
      },
      get cr2() {
        return place('cr2');
      },
    };
  }
}
