/** Of a tapable hook, what a list needs. */
interface Tappable {
  isUsed(): boolean;
  tap(options: { readonly name: string; readonly stage?: number }, fn: never): void;
}
type TapOf<Hook extends Tappable> = Parameters<Hook['tap']>[1];

interface Tapped<Hook extends Tappable> {
  /** A plug-in; `undefined`: the machine. */
  readonly owner: string | undefined;
  readonly name: string;
  readonly fn: TapOf<Hook>;
}

/** Stage of the machine's own taps; those of plug-ins are at tapable's 0. */
const AFTER_PLUGINS = 1;

/** A tapable hook whose taps can go again: then it is made anew of those that stay. */
export class TapList<Hook extends Tappable> {
  readonly #make: () => Hook;
  #taps: readonly Tapped<Hook>[] = [];
  hook: Hook;

  constructor(make: () => Hook) {
    this.#make = make;
    this.hook = make();
  }

  tap(plugin: string, fn: TapOf<Hook>): void {
    this.#add({ owner: plugin, name: plugin, fn });
  }
  /** For the machine: called after those of all plug-ins, of later ones too. */
  tapLast(name: string, fn: TapOf<Hook>): void {
    this.#add({ owner: undefined, name, fn });
  }
  remove(plugin: string): void {
    const staying = this.#taps.filter(({ owner }) => owner !== plugin);
    if (staying.length === this.#taps.length) return;
    this.hook = this.#make();
    this.#taps = [];
    for (const tapped of staying) this.#add(tapped);
  }

  #add(tapped: Tapped<Hook>): void {
    const { owner, name, fn } = tapped;
    this.#taps = [...this.#taps, tapped];
    this.hook.tap(owner === undefined ? { name, stage: AFTER_PLUGINS } : { name }, fn);
  }
}
