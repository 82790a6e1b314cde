import { BtfKind } from '../btf.ts';

/** Of a struct that has bit-fields, in the byte of its kind. */
const KIND_FLAG = 0x80;

/** Writes BTF, a type at a time; each answers its number (Linux, Documentation/bpf/btf.rst). */
export class BtfWriter {
  readonly #types: number[] = [];
  readonly #strings: number[] = [0];
  #count = 0;

  int(name: string, sizeBytes = 4): number {
    return this.#type(name, BtfKind.INT, 0, sizeBytes, [sizeBytes * 8]);
  }
  pointer(to: number): number {
    return this.#type('', BtfKind.PTR, 0, to, []);
  }
  typedef(name: string, type: number): number {
    return this.#type(name, BtfKind.TYPEDEF, 0, type, []);
  }
  const(type: number): number {
    return this.#type('', BtfKind.CONST, 0, type, []);
  }
  array(element: number, count: number): number {
    return this.#type('', BtfKind.ARRAY, 0, 0, [element, element, count]);
  }
  forward(name: string): number {
    return this.#type(name, BtfKind.FWD, 0, 0, []);
  }
  enumeration(name: string, values: readonly string[]): number {
    const parts = values.flatMap((value, index) => [this.#string(value), index]);
    return this.#type(name, BtfKind.ENUM, values.length, 4, parts);
  }
  prototype(returns: number, parameters: readonly (readonly [name: string, type: number])[]): number {
    const parts = parameters.flatMap(([name, type]) => [this.#string(name), type]);
    return this.#type('', BtfKind.FUNC_PROTO, parameters.length, returns, parts);
  }
  func(name: string, prototype: number): number {
    return this.#type(name, BtfKind.FUNC, 0, prototype, []);
  }
  struct(
    name: string,
    sizeBytes: number,
    members: readonly (readonly [name: string, type: number, at: number, bits?: number])[],
  ): number {
    const parts = members.flatMap(([member, type, at, bits = 0]) => [
      this.#string(member),
      type,
      (bits << 24) | (at * 8),
    ]);
    const hasBitFields = members.some(([, , , bits]) => bits);
    return this.#type(name, BtfKind.STRUCT | (hasBitFields ? KIND_FLAG : 0), members.length, sizeBytes, parts);
  }

  bytes(): Uint8Array {
    const header = [24, 0, this.#types.length * 4, this.#types.length * 4, this.#strings.length];
    const out = new Uint8Array(24 + this.#types.length * 4 + this.#strings.length);
    const view = new DataView(out.buffer);
    view.setUint16(0, 0xeb9f, true);
    view.setUint8(2, 1);
    [...header, ...this.#types].forEach((word, index) => view.setUint32(4 + index * 4, word, true));
    out.set(this.#strings, 24 + this.#types.length * 4);
    return out;
  }

  #type(name: string, kind: number, parts: number, sizeOrType: number, rest: readonly number[]): number {
    this.#types.push(this.#string(name), ((kind << 24) | parts) >>> 0, sizeOrType, ...rest);
    return ++this.#count;
  }
  #string(text: string): number {
    if (text === '') return 0;
    const at = this.#strings.length;
    this.#strings.push(...new TextEncoder().encode(text), 0);
    return at;
  }
}
