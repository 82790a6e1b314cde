import { PolyvisorError } from '@polyvisor/plugin-api';
import { branch, GateOffset, gateBlock } from './code.ts';
import type { RunningKernel } from './running-kernel.ts';

/** Linux, kernel/module/main.c: called with each module before its code runs. */
const MODULE_START = 'do_init_module';
/** The list of the modules that are there (list_head). */
const MODULES = 'modules';
const ENDBR64 = [0xf3, 0x0f, 0x1e, 0xfa] as const;
/** What the function tracer leaves at a function's start (SDM vol. 2B, table 4-12). */
const TRACER_NOP = [0x0f, 0x1f, 0x44, 0x00, 0x00] as const;

/**
 * Loadable kernel modules have call sites of their own, which the kernel has inlined or will inline native instructions
 * into. Operations that keep the interrupt flag elsewhere cannot live beside these: so they are refused where modules are
 * loaded, and a trap at the start of the next one, in place of the function tracer's nop, takes them out.
 */
export class ModuleGuard {
  static readonly gateName = '(module)';
  readonly #kernel: RunningKernel;
  readonly #gate: bigint;
  #armed = false;

  constructor(kernel: RunningKernel, place: { readonly gva: bigint; readonly gpa: number }) {
    this.#kernel = kernel;
    this.#gate = place.gva;
    const done = place.gva + BigInt(GateOffset.done);
    const block = gateBlock(place.gva, { target: done, previous: done, native: done });
    kernel.machine.memory.writeBytes(place.gpa, block);
  }

  /** Throws PV5018 if the guest has modules, or if it cannot be noticed when it loads one. */
  check(name: string): void {
    const refuse = (why: string) =>
      new PolyvisorError('PV5018', `ops module ${name} cannot be loaded: ${why}`, 'boot without kernel modules', 10);
    const list = this.#kernel.symbol(MODULES);
    // A kernel without support for modules has no such list.
    if (list === undefined) return;
    const first = this.#kernel.readWord(list);
    if (first !== list) throw refuse('the guest has loaded kernel modules, whose code would go around it');
    if (!this.#armed && this.#nop() === undefined) throw refuse(`${MODULE_START} of the kernel cannot be watched`);
  }

  arm(on: boolean): void {
    if (on === this.#armed) return;
    const at = on ? this.#nop() : this.#at;
    this.#armed = on;
    if (at === undefined) return;
    this.#at = at;
    const trap = this.#gate + BigInt(GateOffset.trap);
    this.#kernel.write(at, Uint8Array.from(on ? branch('call', at, trap) : TRACER_NOP));
  }
  #at: bigint | undefined;

  #nop(): bigint | undefined {
    const start = this.#kernel.symbol(MODULE_START);
    const code = start === undefined ? undefined : this.#kernel.read(start, ENDBR64.length + TRACER_NOP.length);
    if (start === undefined || !code) return undefined;
    const skip = ENDBR64.every((byte, i) => code[i] === byte) ? ENDBR64.length : 0;
    return TRACER_NOP.every((byte, i) => code[skip + i] === byte) ? start + BigInt(skip) : undefined;
  }
}
