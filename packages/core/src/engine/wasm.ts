/** A growing byte buffer with the encodings of the WebAssembly binary format (core specification, chapter 5). */
export class ByteWriter {
  #bytes = new Uint8Array(1024);
  length = 0;

  #reserve(count: number): void {
    if (this.length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 4, this.length + count));
    grown.set(this.#bytes.subarray(0, this.length));
    this.#bytes = grown;
  }
  byte(value: number): this {
    this.#reserve(1);
    this.#bytes[this.length++] = value;
    return this;
  }
  bytes(values: ArrayLike<number>): this {
    this.#reserve(values.length);
    // The few bytes of an opcode; `set` would cost more than they do.
    if (values.length < 8) for (let i = 0; i < values.length; i++) this.#bytes[this.length + i] = values[i];
    else this.#bytes.set(values, this.length);
    this.length += values.length;
    return this;
  }
  /** Unsigned LEB128 of a number below 2^32. */
  u32(value: number): this {
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.byte((rest & 0x7f) | 0x80);
      rest >>>= 7;
    }
    return this.byte(rest);
  }
  /** Signed LEB128 of a 32-bit integer. */
  s32(value: number): this {
    let rest = value | 0;
    for (;;) {
      const low = rest & 0x7f;
      rest >>= 7;
      if ((rest === 0 && !(low & 0x40)) || (rest === -1 && low & 0x40)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }
  /** Signed LEB128 of a 64-bit integer. */
  s64(value: bigint): this {
    let rest = BigInt.asIntN(64, value);
    if (rest >= -0x8000_0000n && rest <= 0x7fff_ffffn) return this.s32(Number(rest));
    for (;;) {
      const low = Number(rest & 0x7fn);
      rest >>= 7n;
      if ((rest === 0n && !(low & 0x40)) || (rest === -1n && low & 0x40)) return this.byte(low);
      this.byte(low | 0x80);
    }
  }
  name(text: string): this {
    this.u32(text.length);
    for (let i = 0; i < text.length; i++) this.byte(text.charCodeAt(i));
    return this;
  }
  append(other: ByteWriter): this {
    return this.bytes(other.view());
  }
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

export const ValType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type WasmType = keyof typeof ValType;

export interface Signature {
  readonly params: readonly WasmType[];
  readonly results: readonly WasmType[];
}

interface Import {
  readonly name: string;
  readonly signature: Signature;
}
interface Func {
  readonly exportName: string | undefined;
  readonly signature: Signature;
  readonly locals: readonly WasmType[];
  readonly body: FunctionBody;
}
/** Code of a function, and the offsets in it of the `if`s that are hardly ever taken. */
interface FunctionBody {
  readonly out: ByteWriter;
  readonly unlikely: readonly number[];
}

/**
 * Puts a module together: imports from `env` (`memory`, functions, perhaps a table), functions, exports.
 * Function indices count imports first, so all imports are declared before the first function.
 */
export class ModuleBuilder {
  readonly #imports: Import[] = [];
  readonly #functions: Func[] = [];
  readonly #memoryPages: { initial: number; maximum: number };
  readonly #tables: { name: string; size: number }[] = [];

  constructor(memoryPages: { initial: number; maximum: number }) {
    this.#memoryPages = memoryPages;
  }
  importFunction(name: string, params: readonly WasmType[], results: readonly WasmType[]): number {
    if (this.#functions.length > 0) throw new Error('imports come before functions');
    this.#imports.push({ name, signature: { params, results } });
    return this.#imports.length - 1;
  }
  /** The module owns a table of functions of this size, exported under this name; answers its index. */
  ownTable(name: string, size: number): number {
    return this.#tables.push({ name, size }) - 1;
  }
  /** Index of the next function. */
  get nextFunction(): number {
    return this.#imports.length + this.#functions.length;
  }
  addFunction(
    exportName: string | undefined,
    signature: Signature,
    locals: readonly WasmType[],
    body: FunctionBody,
  ): number {
    this.#functions.push({ exportName, signature, locals, body });
    return this.nextFunction - 1;
  }
  /** Index of a signature in the type section, for call_indirect. */
  typeIndex(signature: Signature): number {
    const wanted = key(signature);
    const types = this.#types();
    const at = types.findIndex((type) => key(type) === wanted);
    if (at < 0) throw new Error(`no function of type ${wanted}`);
    return at;
  }
  #types(): Signature[] {
    const seen = new Map<string, Signature>();
    for (const { signature } of this.#imports) if (!seen.has(key(signature))) seen.set(key(signature), signature);
    for (const signature of this.#extraTypes) if (!seen.has(key(signature))) seen.set(key(signature), signature);
    for (const { signature } of this.#functions) if (!seen.has(key(signature))) seen.set(key(signature), signature);
    return [...seen.values()];
  }
  readonly #extraTypes: Signature[] = [];
  /** Make sure a signature has an index before any function uses it. */
  declareType(signature: Signature): number {
    this.#extraTypes.push(signature);
    return this.typeIndex(signature);
  }

  finish(): Uint8Array {
    const out = new ByteWriter().bytes([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const types = this.#types();
    const indexOf = new Map(types.map((type, i) => [key(type), i]));
    section(out, 1, types, (w, type) => {
      w.byte(0x60).u32(type.params.length);
      for (const t of type.params) w.byte(ValType[t]);
      w.u32(type.results.length);
      for (const t of type.results) w.byte(ValType[t]);
    });
    section(out, 2, [undefined, ...this.#imports], (w, imported) => {
      w.name('env');
      if (imported)
        w.name(imported.name)
          .byte(0)
          .u32(indexOf.get(key(imported.signature)) as number);
      else w.name('memory').byte(2).byte(3).u32(this.#memoryPages.initial).u32(this.#memoryPages.maximum);
    });
    section(out, 3, this.#functions, (w, f) => w.u32(indexOf.get(key(f.signature)) as number));
    section(out, 4, this.#tables, (w, table) => w.byte(0x70).byte(0).u32(table.size));
    const exported = this.#functions.flatMap((f, i) =>
      f.exportName ? [{ name: f.exportName, kind: 0, index: this.#imports.length + i }] : [],
    );
    this.#tables.forEach(({ name }, index) => {
      exported.push({ name, kind: 1, index });
    });
    section(out, 7, exported, (w, e) => w.name(e.name).byte(e.kind).u32(e.index));
    const declarations = this.#functions.map((f) => localDeclarations(f.locals));
    this.#branchHints(out, declarations);
    section(out, 10, this.#functions, (w, f, i) => {
      w.u32(declarations[i].length + f.body.out.length + 1)
        .append(declarations[i])
        .append(f.body.out)
        .byte(END);
    });
    this.#names(out);
    return out.view().slice();
  }

  /** Names of functions for profilers (core specification, 7.4.1); exported ones only. */
  #names(out: ByteWriter): void {
    const named = this.#functions.flatMap(({ exportName }, i) => (exportName ? [{ exportName, i }] : []));
    const map = new ByteWriter().u32(named.length);
    for (const { exportName, i } of named) map.u32(this.#imports.length + i).name(exportName);
    const body = new ByteWriter().name('name').byte(1).u32(map.length).append(map);
    out.byte(0).u32(body.length).append(body);
  }

  /** Custom section of the branch hinting proposal: engines that do not know it pass over it. */
  #branchHints(out: ByteWriter, declarations: readonly ByteWriter[]): void {
    const hinted = this.#functions.flatMap(({ body }, i) => (body.unlikely.length > 0 ? [i] : []));
    if (hinted.length === 0) return;
    const body = new ByteWriter().name('metadata.code.branch_hint').u32(hinted.length);
    for (const i of hinted) {
      const { unlikely } = this.#functions[i].body;
      body.u32(this.#imports.length + i).u32(unlikely.length);
      for (const at of unlikely)
        body
          .u32(declarations[i].length + at)
          .u32(1)
          .byte(0);
    }
    out.byte(0).u32(body.length).append(body);
  }
}

const END = 0x0b;

/** Runs of locals of the same type. */
function localDeclarations(locals: readonly WasmType[]): ByteWriter {
  const runs: { type: WasmType; count: number }[] = [];
  for (const type of locals) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  const out = new ByteWriter().u32(runs.length);
  for (const { type, count } of runs) out.u32(count).byte(ValType[type]);
  return out;
}

const key = (signature: Signature) => `${signature.params.join()}>${signature.results.join()}`;

function section<T>(
  out: ByteWriter,
  id: number,
  items: readonly T[],
  write: (w: ByteWriter, item: T, index: number) => void,
): void {
  if (items.length === 0) return;
  const body = new ByteWriter().u32(items.length);
  items.forEach((item, i) => {
    write(body, item, i);
  });
  out.byte(id).u32(body.length).append(body);
}

/** Opcodes used by hand-written engine code; the IR brings its own. */
// biome-ignore format: a table
export const Op = {
  unreachable: 0x00, block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e, return: 0x0f,
  call: 0x10, callIndirect: 0x11, drop: 0x1a, select: 0x1b, localGet: 0x20, localSet: 0x21, localTee: 0x22,
  i32Load: 0x28, i64Load: 0x29, i32Load8S: 0x2c, i32Load8U: 0x2d, i32Load16S: 0x2e, i32Load16U: 0x2f, i64Load8U: 0x31, i64Load32S: 0x34, i64Load32U: 0x35,
  i32Store: 0x36, i64Store: 0x37, i32Store8: 0x3a, i32Store16: 0x3b, i32Const: 0x41, i64Const: 0x42,
  i32Eqz: 0x45, i32Eq: 0x46, i32Ne: 0x47, i32LtS: 0x48, i32LtU: 0x49, i32GtS: 0x4a, i32GtU: 0x4b, i32LeS: 0x4c, i32LeU: 0x4d, i32GeS: 0x4e, i32GeU: 0x4f, i32Popcnt: 0x69,
  i64Eqz: 0x50, i64Eq: 0x51, i64Ne: 0x52, i64LtS: 0x53, i64LtU: 0x54, i64GtU: 0x56, i64LeS: 0x57, i64LeU: 0x58, i64GeU: 0x5a, i32Add: 0x6a, i32Sub: 0x6b, i32And: 0x71, i32Or: 0x72, i32Xor: 0x73,
  i32Shl: 0x74, i32ShrS: 0x75, i32ShrU: 0x76, i64Add: 0x7c, i64Sub: 0x7d, i64And: 0x83, i64Or: 0x84, i64Xor: 0x85, i64Shl: 0x86, i64ShrS: 0x87, i64ShrU: 0x88,
  i32WrapI64: 0xa7, i64ExtendI32S: 0xac, i64ExtendI32U: 0xad,
  i64Extend8S: 0xc2, i64Extend16S: 0xc3, i64Extend32S: 0xc4,
} as const;
export const VOID = 0x40;
