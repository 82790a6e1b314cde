import { GateOffset, gateBlock } from './code.ts';
import { EntryTrap } from './entry-trap.ts';
import type { RunningKernel } from './running-kernel.ts';

/** Linux, kernel/module/main.c: called with each module, complete and in its place, before any of its code runs. */
const MODULE_START = 'do_init_module';

/** A trap where the guest's kernel is about to run a module of its own for the first time. */
export class ModuleGuard {
  static readonly gateName = '(module)';
  readonly #trap: EntryTrap;

  constructor(kernel: RunningKernel, place: { readonly gva: bigint; readonly gpa: number }) {
    const done = place.gva + BigInt(GateOffset.done);
    const block = gateBlock(place.gva, { target: done, previous: done, native: done });
    kernel.machine.memory.writeBytes(place.gpa, block);
    this.#trap = new EntryTrap(kernel, MODULE_START, place.gva + BigInt(GateOffset.trap));
  }

  /** Whether modules are noticed from now on, or can be. */
  get isPossible(): boolean {
    return this.#trap.isPossible;
  }
  arm(on: boolean): void {
    this.#trap.arm(on);
  }
}
