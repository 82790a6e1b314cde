/** One kind of exit, and how often it was taken. */
interface ExitCount {
  count: number;
}

/** Exits by name. What is counted is found by a number, since it happens hundreds of thousands of times a second. */
export class ExitCounts {
  readonly #byName = new Map<string, ExitCount>();
  readonly #instructions: (ExitCount | undefined)[] = [];
  readonly #exceptions: (ExitCount | undefined)[] = [];

  /** An instruction exit: its number in INSTRUCTION_EXITS, its name there, and the exit's kind if plug-ins can see it. */
  instruction(detail: number, name: string, kind: string | undefined): void {
    const counter = (this.#instructions[detail] ??= this.#named(kind ?? `native.${name}`));
    counter.count++;
  }
  exception(vector: number): void {
    const counter = (this.#exceptions[vector] ??= this.#named(`exception.${vector}`));
    counter.count++;
  }
  #named(name: string): ExitCount {
    let counter = this.#byName.get(name);
    if (!counter) this.#byName.set(name, (counter = { count: 0 }));
    return counter;
  }

  /** `exit.NAME` and how often, in order of the names. */
  figures(): Record<string, number> {
    return Object.fromEntries(
      [...this.#byName].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, { count }]) => [`exit.${name}`, count]),
    );
  }
}
