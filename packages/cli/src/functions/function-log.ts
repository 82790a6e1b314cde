import type { FirstRun, PlacedSymbols } from '@polyvisor/core';
import type { ElfImage } from '@polyvisor/plugin-api';
import type { LoggedFunction } from './function-file.ts';

/** Code that a kernel gives away once it has booted (Linux, include/linux/init.h). */
const INIT_SECTION = '.init.text';

/** Runs of code, before names are looked for; and how many wait for names at most. */
const BETWEEN_LOOKS = 1 << 10;
const MOST_WAITING = 1 << 16;

type Run = Pick<FirstRun, 'rip' | 'stackTop'>;
type Names = Pick<PlacedSymbols, 'areFound' | 'nameOf' | 'linkedAt'> & { look(): Names };

/** Functions of a kernel in the order in which a guest came to them first, each with where its first call came from. */
export class FunctionLog {
  readonly #names: Names | undefined;
  readonly #isInit: (linked: bigint) => boolean;
  readonly #functions = new Map<string, LoggedFunction>();
  readonly #waiting: Run[] = [];

  constructor(names: Names | undefined, elf: ElfImage | undefined) {
    this.#names = names;
    const init = elf?.section(INIT_SECTION);
    this.#isInit = (at) => init !== undefined && at >= init.address && at < init.address + BigInt(init.sizeBytes);
  }

  add({ rip, stackTop }: Run): void {
    if (!this.#names) return;
    const waiting = this.#waiting.push({ rip, stackTop });
    if (!this.#names.areFound && waiting % BETWEEN_LOOKS === 0) this.#names.look();
    if (this.#names.areFound || waiting === MOST_WAITING) this.settle();
  }

  /** Name what waits for it: a boot has ended, and the next one has other places. */
  settle(): void {
    const names = this.#names?.look();
    for (const run of this.#waiting.splice(0)) if (names) this.#log(names, run);
  }

  #log(names: Names, { rip, stackTop }: Run): void {
    const name = names.nameOf(rip);
    if (name === undefined || name.includes('+') || this.#functions.has(name)) return;
    // What a return address names is behind the call; the name of the function alone is told.
    const caller = stackTop === undefined ? undefined : names.nameOf(stackTop)?.split('+')[0];
    this.#functions.set(name, {
      name,
      section: this.#isInit(names.linkedAt(rip)) ? 'init' : 'text',
      caller: caller ?? '-',
    });
  }

  get functions(): readonly LoggedFunction[] {
    return [...this.#functions.values()];
  }
}
