import type { ExitKind } from '@polyvisor/plugin-api';

/** What the guest of one machine has of each plug-in, as far as the host sees it, in words. */
export class Uses {
  /** Whose tap is being called. */
  acting: string | undefined;
  readonly #taken = new Map<string, Set<string>>();
  readonly #answered = new Map<string, Set<ExitKind>>();
  /** Those that have been given the machine, and may have kept it. */
  readonly #given = new Set<string>();

  /** The plug-in whose tap is being called has put this before the guest; between taps, one that has the machine. */
  took(what: string): void {
    for (const plugin of this.acting === undefined ? this.#given : [this.acting]) add(this.#taken, plugin, what);
  }
  given(plugin: string): void {
    this.#given.add(plugin);
  }
  /** With anything but `pass`. */
  answered(plugin: string, kind: ExitKind): void {
    add(this.#answered, plugin, kind);
  }

  of(plugin: string): readonly string[] {
    return [...(this.#taken.get(plugin) ?? [])];
  }
  answersOf(plugin: string): readonly string[] {
    const kinds = this.#answered.get(plugin);
    return kinds ? [`its answers to exits (${[...kinds].join(', ')})`] : [];
  }
  forget(plugin: string): void {
    this.#taken.delete(plugin);
    this.#answered.delete(plugin);
    this.#given.delete(plugin);
  }

  /** Calls a tap of the plug-in's. */
  as<Result>(plugin: string, call: () => Result): Result {
    const before = this.acting;
    this.acting = plugin;
    try {
      return call();
    } finally {
      this.acting = before;
    }
  }
}

function add<Of>(sets: Map<string, Set<Of>>, plugin: string, what: Of): void {
  sets.set(plugin, (sets.get(plugin) ?? new Set()).add(what));
}
