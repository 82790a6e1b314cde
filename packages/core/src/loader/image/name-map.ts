const PARTS = 256;
const partOf = (name: string) =>
  (name.length * 7 + name.charCodeAt(name.length - 1) * 3 + name.charCodeAt(name.length >> 1)) % PARTS;

/** A hundred thousand names and more: one map of them all would take long in the moments in which it grows. */
export class NameMap<Value> {
  readonly #parts = Array.from({ length: PARTS }, () => new Map<string, Value>());

  get(name: string): Value | undefined {
    return this.#part(name).get(name);
  }
  set(name: string, value: Value): void {
    this.#part(name).set(name, value);
  }
  has(name: string): boolean {
    return this.#part(name).has(name);
  }
  /** Those without a character are in the first one. */
  #part(name: string): Map<string, Value> {
    return this.#parts[name === '' ? 0 : partOf(name)];
  }
}
