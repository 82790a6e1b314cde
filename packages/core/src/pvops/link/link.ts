import type { ElfObject, ObjectRelocation, ObjectSection, ObjectSymbol } from '../../loader/image/elf-object.ts';
import { printable } from '../../loader/image/image-error.ts';
import { moduleError } from '../module-error.ts';
import { entriesSection, type ObjectEntry } from './entries.ts';
import { type ModuleLayout, type Place, type RegionName, THUNK_BYTES } from './layout.ts';
import { opThunk } from './op-thunk.ts';
import { inRange, relocationType } from './relocations.ts';

/** What is to be linked, and what errors call it. */
export interface Linkable {
  readonly title: string;
  readonly object: ElfObject;
  readonly layout: ModuleLayout;
  readonly entries: readonly ObjectEntry[];
  /** The callers of a slot want to keep their registers. */
  keepsRegisters(slot: string): boolean;
}

/** One slot of a linked module, by addresses in the guest. */
export interface LinkedOp {
  readonly slot: string;
  /** Of what is to be called, by the slot's calling convention: a thunk. */
  readonly gva: bigint;
  /** Where the module's function returns to, in the thunk. */
  readonly returnTo: bigint;
}

/** A function of a module, by its symbol. */
export interface ModuleFunction {
  readonly name: string;
  readonly gva: bigint;
  readonly sizeBytes: number;
}

/** Addresses in the guest at which a module's regions are to lie. */
export type Bases = Readonly<Record<RegionName, bigint>>;

/** The bytes of a module for one place. */
export interface LinkedObject {
  readonly regions: Readonly<Record<RegionName, { readonly base: bigint; readonly bytes: Uint8Array }>>;
  readonly ops: readonly LinkedOp[];
  /** Its global variables that are a number, for whoever wants to look at them. */
  readonly variables: readonly ModuleVariable[];
  readonly functions: readonly ModuleFunction[];
}

export interface ModuleVariable {
  readonly name: string;
  readonly gva: bigint;
  readonly sizeBytes: 1 | 2 | 4 | 8;
}

/** What a linker asks of the guest. */
export interface LinkAnswers {
  /** The address of a symbol. */
  symbol(name: string): bigint | undefined;
  /** What is in a slot before. */
  previous(slot: string): bigint;
}

const GOT_SYMBOL = '_GLOBAL_OFFSET_TABLE_';
const MOST_NAMES = 8;
const MOST_VARIABLES = 64;

/**
 * The module as it has to stand at `bases`, which are aligned as its regions want it.
 * Throws `PolyvisorError` PV5025 for symbols that nobody has, PV5026 for relocations that do not reach, PV5027 for
 * places outside of their section and pointers outside of the module.
 */
export function link(module: Linkable, bases: Bases, guest: LinkAnswers): LinkedObject {
  const linker = new Linker(module, bases, guest);
  linker.refuseUnresolved();
  linker.fillGot();
  for (const section of module.object.sections) linker.section(section);
  const ops = module.entries.map((entry, index) => linker.op(entry, index));
  const region = (name: RegionName) => ({ base: bases[name], bytes: linker.bytes[name] });
  return { regions: { text: region('text'), data: region('data') }, ops, ...linker.symbols() };
}

class Linker {
  readonly bytes: Readonly<Record<RegionName, Uint8Array>>;
  readonly #module: Linkable;
  readonly #bases: Bases;
  readonly #guest: LinkAnswers;
  readonly #values = new Map<number, bigint>();

  constructor(module: Linkable, bases: Bases, guest: LinkAnswers) {
    this.#module = module;
    this.#bases = bases;
    this.#guest = guest;
    const { text, data } = module.layout.regions;
    this.bytes = { text: new Uint8Array(text.sizeBytes), data: new Uint8Array(data.sizeBytes) };
    for (const { index, bytes } of module.object.sections) {
      const place = module.layout.sections.get(index);
      if (place) this.bytes[place.region].set(bytes, place.offset);
    }
  }

  #gva({ region, offset }: Place): bigint {
    return this.#bases[region] + BigInt(offset);
  }

  /** All names at once: whoever builds a module wants to see them together. */
  refuseUnresolved(): void {
    const { object, layout, title } = this.#module;
    const kept = object.sections.filter(({ index }) => layout.sections.has(index));
    const used = new Set(kept.flatMap(({ relocations }) => relocations.map(({ symbol }) => symbol)));
    const missing = [...used].filter((index) => this.#value(index) === undefined);
    if (missing.length === 0) return;
    const names = missing.map((index) => this.#nameOf(index));
    const more = names.length > MOST_NAMES ? ` and ${names.length - MOST_NAMES} more` : '';
    const listed = names.slice(0, MOST_NAMES).join(', ');
    throw moduleError('PV5025', `ops module ${title} uses symbols that the guest does not have: ${listed}${more}`);
  }

  #nameOf(index: number): string {
    const { name, place } = this.#module.object.symbols[index];
    if (name !== '' || typeof place !== 'number') return printable(name) || `symbol ${index}`;
    return `section ${printable(this.#module.object.sections[place].name)}`;
  }

  #value(index: number): bigint | undefined {
    const known = this.#values.get(index);
    if (known !== undefined) return known;
    const value = this.#valueOf(this.#module.object.symbols[index], index);
    if (value !== undefined) this.#values.set(index, value);
    return value;
  }

  #valueOf(symbol: ObjectSymbol, index: number): bigint | undefined {
    const { layout } = this.#module;
    const inModule = (place: Place | undefined) => place && this.#gva(place);
    if (symbol.place === 'absolute') return symbol.value;
    if (symbol.place === 'common') return inModule(layout.commons.get(index));
    if (symbol.place !== 'undefined') {
      const section = inModule(layout.sections.get(symbol.place));
      return section === undefined ? undefined : section + symbol.value;
    }
    // Symbol 0 stands for no symbol at all.
    if (index === 0) return 0n;
    if (symbol.name === GOT_SYMBOL) return this.#gva({ region: 'text', offset: layout.got });
    return this.#guest.symbol(symbol.name) ?? (symbol.binding === 'weak' ? 0n : undefined);
  }

  fillGot(): void {
    for (const [symbol, offset] of this.#module.layout.gotSlots) {
      this.#put({ region: 'text', offset }, this.#value(symbol) ?? 0n, this.#wordBytes);
    }
  }

  section(section: ObjectSection): void {
    const place = this.#module.layout.sections.get(section.index);
    if (!place) return;
    for (const relocation of section.relocations) this.#relocate(section, place, relocation);
  }

  #relocate(section: ObjectSection, start: Place, relocation: ObjectRelocation): void {
    const { object, layout, title } = this.#module;
    const type = relocationType(object.class, relocation.type);
    const where = `${printable(section.name)}+0x${relocation.offset.toString(16)}`;
    if (!type)
      throw moduleError('PV5026', `ops module ${title}: unknown relocation type ${relocation.type} at ${where}`);
    const { sizeBytes } = type;
    if (relocation.offset + sizeBytes > section.bytes.length) {
      throw moduleError('PV5027', `ops module ${title}: the relocation at ${where} lies outside of its section`);
    }
    if (sizeBytes === 0) return;
    const place = { region: start.region, offset: start.offset + relocation.offset };
    const slot = layout.gotSlots.get(relocation.symbol);
    const value = type.value({
      s: this.#value(relocation.symbol) ?? 0n,
      a: relocation.addend ?? this.#addendAt(place, sizeBytes),
      p: this.#gva(place),
      got: this.#gva({ region: 'text', offset: layout.got }),
      g: slot === undefined ? 0n : this.#gva({ region: 'text', offset: slot }),
      modrm: relocation.offset > 0 ? section.bytes[relocation.offset - 1] : 0,
    });
    if (!inRange(value, type)) {
      const far = `${type.name} to ${this.#nameOf(relocation.symbol)} at ${where}`;
      const op = this.#opAt(section, relocation.offset);
      throw moduleError(
        'PV5026',
        `ops module ${title}: ${far}${op} does not reach from 0x${this.#gva(place).toString(16)}`,
      );
    }
    this.#put(place, value, sizeBytes);
  }

  /** `, in the implementation of SLOT,` if that is where the offset is. */
  #opAt(section: ObjectSection, offset: number): string {
    const { object, entries } = this.#module;
    const table = entriesSection(object);
    const around = object.symbols.find(
      ({ place, value, sizeBytes }) =>
        place === section.index && BigInt(offset) >= value && BigInt(offset) < value + sizeBytes,
    );
    const entry = entries.find(({ functionAt }) => {
      const pointer = table?.relocations.find((relocation) => relocation.offset === functionAt);
      const symbol = pointer && object.symbols[pointer.symbol];
      return symbol?.place === section.index && symbol.value + (pointer?.addend ?? 0n) === around?.value;
    });
    return entry ? `, in the implementation of ${entry.slot},` : '';
  }

  #view({ region, offset }: Place): DataView {
    return new DataView(this.bytes[region].buffer, offset);
  }

  #addendAt(place: Place, sizeBytes: number): bigint {
    const view = this.#view(place);
    return sizeBytes === 8 ? view.getBigInt64(0, true) : BigInt(view.getInt32(0, true));
  }

  get #wordBytes(): 4 | 8 {
    return this.#module.object.class === 64 ? 8 : 4;
  }

  #put(place: Place, value: bigint, sizeBytes: number): void {
    const view = this.#view(place);
    if (sizeBytes === 8) view.setBigUint64(0, BigInt.asUintN(64, value), true);
    else view.setUint32(0, Number(BigInt.asUintN(32, value)), true);
  }

  /** An entry of the linked table; the predecessor's address is put where the module wants it. */
  op({ slot, functionAt, previousAt }: ObjectEntry, index: number): LinkedOp {
    const { object, layout, title, keepsRegisters } = this.#module;
    const table = entriesSection(object);
    const place = table && layout.sections.get(table.index);
    if (!place) throw moduleError('PV5027', `ops module ${title}: ${table?.name} is not to be loaded`);
    const gva = this.#word({ ...place, offset: place.offset + functionAt });
    const previous = this.#word({ ...place, offset: place.offset + previousAt });
    if (gva === 0n) throw moduleError('PV5027', `ops module ${title} names no implementation for ${slot}`);
    if (previous !== 0n) this.#setPrevious(slot, previous);
    return { slot, ...this.#thunk(index, gva, keepsRegisters(slot)) };
  }

  #setPrevious(slot: string, gva: bigint): void {
    if (!this.#isInData(gva, this.#wordBytes)) {
      const what = `${slot} wants its predecessor in memory that is not its own`;
      throw moduleError('PV5027', `ops module ${this.#module.title}: ${what}`);
    }
    const offset = Number(gva - this.#bases.data);
    this.#put({ region: 'data', offset }, this.#guest.previous(slot), this.#wordBytes);
  }

  #thunk(index: number, target: bigint, keepsRegisters: boolean): Pick<LinkedOp, 'gva' | 'returnTo'> {
    const offset = this.#module.layout.thunks + index * THUNK_BYTES;
    const gva = this.#gva({ region: 'text', offset });
    const { code, returnTo } = opThunk(this.#module.object.class, keepsRegisters, gva, target);
    this.bytes.text.set(code, offset);
    return { gva, returnTo: gva + BigInt(returnTo) };
  }

  symbols(): Pick<LinkedObject, 'variables' | 'functions'> {
    const variables: ModuleVariable[] = [];
    const functions: ModuleFunction[] = [];
    for (const [index, { name, place, binding, isVariable, sizeBytes }] of this.#module.object.symbols.entries()) {
      const home =
        typeof place === 'number' ? this.#module.layout.sections.get(place) : this.#module.layout.commons.get(index);
      const gva = this.#value(index);
      const size = Number(sizeBytes);
      if (gva === undefined || !home || size === 0) continue;
      if (!isVariable && home.region === 'text') functions.push({ name: printable(name), gva, sizeBytes: size });
      if (!isVariable || binding === 'local' || home.region !== 'data' || !isNumber(size)) continue;
      if (variables.length === MOST_VARIABLES || !this.#isInData(gva, size)) continue;
      variables.push({ name: printable(name), gva, sizeBytes: size });
    }
    return { variables, functions };
  }

  #isInData(gva: bigint, sizeBytes: number): boolean {
    const offset = Number(BigInt.asIntN(64, gva - this.#bases.data));
    return offset >= 0 && offset + sizeBytes <= this.bytes.data.length;
  }

  #word(place: Place): bigint {
    const view = this.#view(place);
    return this.#wordBytes === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
  }
}

const isNumber = (sizeBytes: number): sizeBytes is ModuleVariable['sizeBytes'] => [1, 2, 4, 8].includes(sizeBytes);
