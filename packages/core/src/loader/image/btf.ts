import { ByteReader } from './byte-reader.ts';
import { damagedImage, hex } from './image-error.ts';
import { NameMap } from './name-map.ts';
import { allAtOnce, type Steps } from './steps.ts';

/**
 * BTF, the BPF Type Format: the types that a Linux kernel carries in its section `.BTF` (Linux,
 * Documentation/bpf/btf.rst). A header, type records that are numbered from 1 in the order in which they stand, and
 * strings. Untrusted: every offset and type number is checked when it is used, every walk is bounded.
 */
const MAGIC = 0xeb9f;
const VERSION = 1;
const HEADER = { sizeBytes: 24, length: 4, typeOffset: 8, typeLength: 12, stringOffset: 16, stringLength: 20 } as const;
const TYPE_BYTES = 12;

export const BtfKind = {
  VOID: 0,
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FWD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const;

/** Bytes after a record's first twelve: so many, and so many for each of its `vlen` parts. */
const TRAILERS: readonly { readonly fixed: number; readonly each: number }[] = [
  { fixed: 0, each: 0 },
  { fixed: 4, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 12, each: 0 },
  { fixed: 0, each: 12 },
  { fixed: 0, each: 12 },
  { fixed: 0, each: 8 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 8 },
  { fixed: 4, each: 0 },
  { fixed: 0, each: 12 },
  { fixed: 0, each: 0 },
  { fixed: 4, each: 0 },
  { fixed: 0, each: 0 },
  { fixed: 0, each: 12 },
];

/** Kinds that only qualify or name another type. */
const TRANSPARENT: ReadonlySet<number> = new Set([
  BtfKind.TYPEDEF,
  BtfKind.VOLATILE,
  BtfKind.CONST,
  BtfKind.RESTRICT,
  BtfKind.TYPE_TAG,
]);
/** Kinds whose third word is their size in bytes. */
const SIZED: ReadonlySet<number> = new Set([
  BtfKind.INT,
  BtfKind.STRUCT,
  BtfKind.UNION,
  BtfKind.ENUM,
  BtfKind.FLOAT,
  BtfKind.ENUM64,
]);
const LONGEST_NAME_BYTES = 256;
/** Types of types of types …: no kernel goes deeper, a hostile one goes round in circles. */
const DEEPEST = 64;
const DEEPEST_TEXT = 8;
const TYPES_A_STEP = 512;

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  readonly bitOffset: number;
  /** Width of a bit-field; 0: it is none. */
  readonly bits: number;
}

export class Btf {
  readonly #types: ByteReader;
  readonly #strings: ByteReader;
  /** Offset of each type's record; number 0 is `void` and has none. */
  readonly #offsets: number[] = [-1];
  readonly #named = new Map<number, NameMap<number>>();

  /**
   * Throws `PolyvisorError` PV2001 for what is no BTF, or BTF whose records do not fill its type section. `isIndexed`: false for
   * {@link inSteps} alone.
   */
  constructor(bytes: Uint8Array, isIndexed = true) {
    const reader = new ByteReader(bytes);
    const magic = reader.u16(0, 'BTF magic');
    const version = reader.u8(2, 'BTF version');
    if (magic !== MAGIC || version !== VERSION) {
      throw damagedImage(`BTF has magic ${hex(magic)} and version ${version}, not ${hex(MAGIC)} and ${VERSION}`);
    }
    const headerBytes = reader.u32(HEADER.length, 'BTF hdr_len');
    if (headerBytes < HEADER.sizeBytes) throw damagedImage(`BTF hdr_len is ${headerBytes}`);
    const part = (offsetAt: number, lengthAt: number, what: string) =>
      new ByteReader(
        reader.slice(headerBytes + reader.u32(offsetAt, 'BTF header'), reader.u32(lengthAt, 'BTF header'), what),
      );
    this.#types = part(HEADER.typeOffset, HEADER.typeLength, 'BTF types');
    this.#strings = part(HEADER.stringOffset, HEADER.stringLength, 'BTF strings');
    if (isIndexed) allAtOnce(this.#index());
  }

  /** In steps, the types of some kinds by name included. Throws as the constructor does. */
  static *inSteps(bytes: Uint8Array, kinds: readonly number[]): Steps<Btf> {
    const btf = new Btf(bytes, false);
    yield* btf.#index();
    const named = new Map(kinds.map((kind) => [kind, new NameMap<number>()]));
    // From the end, so that the first of a name stays.
    for (let type = btf.#offsets.length - 1; type > 0; type--) {
      if (type % TYPES_A_STEP === 0) yield;
      named.get(btf.kind(type))?.set(btf.name(type), type);
    }
    for (const [kind, names] of named) btf.#named.set(kind, names);
    return btf;
  }

  get typeCount(): number {
    return this.#offsets.length;
  }

  *#index(): Steps<void> {
    const offsets = this.#offsets;
    let at = 0;
    while (at < this.#types.sizeBytes) {
      if (offsets.length % TYPES_A_STEP === 0) yield;
      const { kind, parts } = this.#info(at);
      const trailer = TRAILERS[kind];
      if (!trailer || kind === BtfKind.VOID)
        throw damagedImage(`BTF type ${offsets.length} is of unknown kind ${kind}`);
      const sizeBytes = TYPE_BYTES + trailer.fixed + parts * trailer.each;
      this.#types.require(at, sizeBytes, `BTF type ${offsets.length}`);
      offsets.push(at);
      at += sizeBytes;
    }
  }

  #info(at: number): { readonly kind: number; readonly parts: number; readonly flag: boolean } {
    const info = this.#types.u32(at + 4, 'BTF type');
    return { kind: (info >>> 24) & 0x1f, parts: info & 0xffff, flag: info >>> 31 === 1 };
  }

  #at(type: number): number {
    const at = this.#offsets[type];
    if (at === undefined || at < 0) throw damagedImage(`BTF names type ${type} of ${this.#offsets.length}`);
    return at;
  }

  #text(offset: number): string {
    return this.#strings.cString(offset, LONGEST_NAME_BYTES, 'BTF name');
  }

  kind(type: number): number {
    return type === 0 ? BtfKind.VOID : this.#info(this.#at(type)).kind;
  }
  name(type: number): string {
    return type === 0 ? 'void' : this.#text(this.#types.u32(this.#at(type), 'BTF type'));
  }
  /** The third word: a size in bytes, or the type that this one is made of. */
  #sizeOrType(type: number): number {
    return this.#types.u32(this.#at(type) + 8, 'BTF type');
  }

  /** The type without typedefs and qualifiers. */
  strip(type: number): number {
    let current = type;
    for (let depth = 0; depth < DEEPEST; depth++) {
      if (!TRANSPARENT.has(this.kind(current))) return current;
      current = this.#sizeOrType(current);
    }
    throw damagedImage(`BTF type ${type} is made of itself`);
  }

  /** The first type of this kind and name. */
  find(kind: number, name: string): number | undefined {
    let names = this.#named.get(kind);
    if (!names) {
      names = new NameMap();
      for (let type = this.#offsets.length - 1; type > 0; type--) {
        if (this.kind(type) === kind) names.set(this.name(type), type);
      }
      this.#named.set(kind, names);
    }
    return names.get(name);
  }

  /** What a pointer points to, what a function's prototype is. */
  target(type: number): number {
    return this.#sizeOrType(type);
  }

  /** Bytes that a struct or union takes. */
  structSizeBytes(type: number): number {
    return this.#sizeOrType(type);
  }

  /** Of a struct or union. `bits` is known where the struct says that it has bit-fields (kind_flag). */
  members(type: number): BtfMember[] {
    const at = this.#at(type);
    const { kind, parts, flag } = this.#info(at);
    if (kind !== BtfKind.STRUCT && kind !== BtfKind.UNION) throw damagedImage(`BTF type ${type} has no members`);
    return Array.from({ length: parts }, (_, index) => {
      const member = at + TYPE_BYTES + index * 12;
      const offset = this.#types.u32(member + 8, 'BTF member');
      return {
        name: this.#text(this.#types.u32(member, 'BTF member')),
        type: this.#types.u32(member + 4, 'BTF member'),
        bitOffset: flag ? offset & 0xffffff : offset,
        bits: flag ? offset >>> 24 : 0,
      };
    });
  }

  /** Value of one of an enumeration's names (Linux, Documentation/bpf/btf.rst, 2.2.6). */
  enumerator(type: number, name: string): number | undefined {
    const at = this.#at(type);
    const { kind, parts } = this.#info(at);
    if (kind !== BtfKind.ENUM) throw damagedImage(`BTF type ${type} is no enumeration`);
    for (let part = at + TYPE_BYTES; part < at + TYPE_BYTES + parts * 8; part += 8) {
      if (this.#text(this.#types.u32(part, 'BTF enumerator')) === name)
        return this.#types.u32(part + 4, 'BTF value') | 0;
    }
    return undefined;
  }

  array(type: number): { readonly element: number; readonly count: number } {
    const at = this.#at(type) + TYPE_BYTES;
    return { element: this.#types.u32(at, 'BTF array'), count: this.#types.u32(at + 8, 'BTF array') };
  }

  /** Bytes that a value of a type takes; 0 for what has no values. */
  sizeBytes(type: number, pointerBytes: number): number {
    let current = this.strip(type);
    let count = 1;
    for (let depth = 0; depth < DEEPEST; depth++) {
      const kind = this.kind(current);
      if (kind !== BtfKind.ARRAY) return count * (kind === BtfKind.PTR ? pointerBytes : this.#ownSizeBytes(current));
      const array = this.array(current);
      count *= array.count;
      current = this.strip(array.element);
    }
    throw damagedImage(`BTF type ${type} is made of itself`);
  }
  #ownSizeBytes(type: number): number {
    return SIZED.has(this.kind(type)) ? this.#sizeOrType(type) : 0;
  }

  /** A function prototype in C: `void (unsigned long addr, ...)`. */
  prototype(type: number, depth = 0): string {
    const at = this.#at(type);
    const { kind, parts } = this.#info(at);
    if (kind !== BtfKind.FUNC_PROTO) throw damagedImage(`BTF type ${type} is no function prototype`);
    const parameters = Array.from({ length: parts }, (_, index) => {
      const parameter = at + TYPE_BYTES + index * 8;
      const name = this.#text(this.#types.u32(parameter, 'BTF parameter'));
      const parameterType = this.#types.u32(parameter + 4, 'BTF parameter');
      if (parameterType === 0) return '...';
      const text = this.describe(parameterType, depth + 1);
      return name === '' ? text : `${text}${text.endsWith('*') ? '' : ' '}${name}`;
    });
    return `${this.describe(this.#sizeOrType(type), depth + 1)} (${parameters.join(', ') || 'void'})`;
  }

  /** A type in C, as far as a reader needs it. */
  describe(type: number, depth = 0): string {
    if (depth > DEEPEST_TEXT) return '…';
    const kind = this.kind(type);
    const of = () => this.describe(this.#sizeOrType(type), depth + 1);
    switch (kind) {
      case BtfKind.PTR: {
        const target = of();
        return this.kind(this.strip(this.#sizeOrType(type))) === BtfKind.FUNC_PROTO ? target : spaced(target, '*');
      }
      case BtfKind.STRUCT:
      case BtfKind.UNION:
        return `${kind === BtfKind.STRUCT ? 'struct' : 'union'} ${this.name(type)}`;
      case BtfKind.ENUM:
      case BtfKind.ENUM64:
        return `enum ${this.name(type)}`;
      case BtfKind.FWD:
        return `struct ${this.name(type)}`;
      case BtfKind.CONST:
        return `const ${of()}`;
      case BtfKind.VOLATILE:
      case BtfKind.RESTRICT:
      case BtfKind.TYPE_TAG:
        return of();
      case BtfKind.ARRAY:
        return `${this.describe(this.array(type).element, depth + 1)}[${this.array(type).count}]`;
      case BtfKind.FUNC_PROTO:
        return this.prototype(type, depth + 1);
      default:
        return this.name(type);
    }
  }
}

function spaced(text: string, tail: string): string {
  return text.endsWith('*') ? `${text}${tail}` : `${text} ${tail}`;
}

/** FUNC_PROTO of a function of this name, if the types know it. */
export function functionPrototype(btf: Btf, name: string): string | undefined {
  const func = btf.find(BtfKind.FUNC, name);
  return func === undefined ? undefined : btf.prototype(btf.target(func));
}
