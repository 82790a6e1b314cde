import { branch, GateOffset, gateBlock } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';

/** Linux, kernel/module/main.c: called with each module, complete and in its place, before any of its code runs. */
const MODULE_START = 'do_init_module';
const ENDBR_BYTES = 4;
/** What the function tracer leaves at a function's start (SDM vol. 2B, table 4-12). */
const TRACER_NOP = [0x0f, 0x1f, 0x44, 0x00, 0x00] as const;

/**
 * A trap where the guest's kernel is about to run a module of its own for the first time, in place of the function tracer's
 * nop: it has one nowhere else, and calls the place with the module as its argument.
 */
export class ModuleGuard {
  static readonly gateName = '(module)';
  readonly #kernel: RunningKernel;
  readonly #gate: bigint;
  #at: bigint | undefined;

  constructor(kernel: RunningKernel, place: { readonly gva: bigint; readonly gpa: number }) {
    this.#kernel = kernel;
    this.#gate = place.gva;
    const done = place.gva + BigInt(GateOffset.done);
    const block = gateBlock(place.gva, { target: done, previous: done, native: done });
    kernel.machine.memory.writeBytes(place.gpa, block);
  }

  /** Whether modules are noticed from now on, or can be. */
  get isPossible(): boolean {
    return this.#at !== undefined || this.#nop() !== undefined;
  }

  arm(on: boolean): void {
    if (on === (this.#at !== undefined)) return;
    const at = on ? this.#nop() : this.#at;
    if (at === undefined) return;
    this.#at = on ? at : undefined;
    const trap = this.#gate + BigInt(GateOffset.trap);
    this.#kernel.write(at, Uint8Array.from(on ? branch('call', at, trap) : TRACER_NOP));
  }

  /** At the function's start, or behind its ENDBR64 or what the kernel has made of it. */
  #nop(): bigint | undefined {
    const start = this.#kernel.symbol(MODULE_START);
    const code = start === undefined ? undefined : this.#kernel.read(start, ENDBR_BYTES + TRACER_NOP.length);
    if (start === undefined || !code) return undefined;
    const skip = [0, ENDBR_BYTES].find((offset) => TRACER_NOP.every((byte, i) => code[offset + i] === byte));
    return skip === undefined ? undefined : start + BigInt(skip);
  }
}
