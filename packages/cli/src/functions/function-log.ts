import type { FirstRun } from '@polyvisor/core';
import type { ElfImage } from '@polyvisor/plugin-api';
import type { LoggedFunction } from './function-file.ts';

/** Code that a kernel gives away once it has booted (Linux, include/linux/init.h). */
const INIT_SECTION = '.init.text';

/** Functions of a kernel in the order in which a guest came to them first, each with where its first call came from. */
export class FunctionLog {
  readonly #nameOf: (gva: bigint) => string | undefined;
  readonly #isInit: (gva: bigint) => boolean;
  readonly #functions = new Map<string, LoggedFunction>();

  /** `nameOf` answers `name`, or `name+0x10` within a function. */
  constructor(nameOf: (gva: bigint) => string | undefined, elf: ElfImage | undefined) {
    this.#nameOf = nameOf;
    const init = elf?.section(INIT_SECTION);
    this.#isInit = (gva) => init !== undefined && gva >= init.address && gva < init.address + BigInt(init.sizeBytes);
  }

  add({ rip, stackTop }: Pick<FirstRun, 'rip' | 'stackTop'>): void {
    const name = this.#nameOf(rip);
    if (name === undefined || name.includes('+') || this.#functions.has(name)) return;
    // What a return address names is behind the call; the name of the function alone is told.
    const caller = stackTop === undefined ? undefined : this.#nameOf(stackTop)?.split('+')[0];
    this.#functions.set(name, { name, section: this.#isInit(rip) ? 'init' : 'text', caller: caller ?? '-' });
  }

  get functions(): readonly LoggedFunction[] {
    return [...this.#functions.values()];
  }
}
