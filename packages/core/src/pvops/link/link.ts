import type { ElfObject, ObjectRelocation, ObjectSection, ObjectSymbol } from '../../loader/image/elf-object.ts';
import { printable } from '../../loader/image/image-error.ts';
import { moduleError } from '../module-error.ts';
import { ENTRIES_SECTION, type ObjectEntry } from './entries.ts';
import { type ModuleLayout, type ModuleSegment, THUNK_BYTES } from './layout.ts';
import { inRange, relocationType } from './relocations.ts';
import { calleeSaveThunk } from './thunk.ts';

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
  /** Of what is to be called, by the slot's calling convention. */
  readonly gva: bigint;
  /** Where the module wants to find the address of what was in the slot before; `undefined`: it does not. */
  readonly previousAt: bigint | undefined;
}

/** The bytes of a module for one address. */
export interface LinkedObject {
  readonly base: bigint;
  readonly bytes: Uint8Array;
  readonly segments: readonly ModuleSegment[];
  readonly ops: readonly LinkedOp[];
}

const GOT_SYMBOL = '_GLOBAL_OFFSET_TABLE_';
const MOST_NAMES = 8;

/**
 * The module as it has to stand at `base`, an address of a page. `resolve` knows the guest's symbols.
 * Throws `PolyvisorError` PV5025 for symbols that nobody has, PV5026 for relocations that do not reach, PV5027 for
 * places outside of their section and pointers outside of the module.
 */
export function link(module: Linkable, base: bigint, resolve: (name: string) => bigint | undefined): LinkedObject {
  const linker = new Linker(module, base, resolve);
  linker.refuseUnresolved();
  linker.fillGot();
  for (const section of module.object.sections) linker.section(section);
  const ops = module.entries.map((entry, index) => linker.op(entry, index));
  return { base, bytes: linker.bytes, segments: module.layout.segments, ops };
}

class Linker {
  readonly bytes: Uint8Array;
  readonly #module: Linkable;
  readonly #base: bigint;
  readonly #resolve: (name: string) => bigint | undefined;
  readonly #view: DataView;
  readonly #values = new Map<number, bigint>();

  constructor(module: Linkable, base: bigint, resolve: (name: string) => bigint | undefined) {
    this.#module = module;
    this.#base = base;
    this.#resolve = resolve;
    this.bytes = new Uint8Array(module.layout.sizeBytes);
    this.#view = new DataView(this.bytes.buffer);
    for (const { index, bytes } of module.object.sections) {
      const at = module.layout.sections.get(index);
      if (at !== undefined) this.bytes.set(bytes, at);
    }
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
    const inModule = (offset: number | undefined) => (offset === undefined ? undefined : this.#base + BigInt(offset));
    if (symbol.place === 'absolute') return symbol.value;
    if (symbol.place === 'common') return inModule(layout.commons.get(index));
    if (symbol.place !== 'undefined') {
      const section = inModule(layout.sections.get(symbol.place));
      return section === undefined ? undefined : section + symbol.value;
    }
    // Symbol 0 stands for no symbol at all.
    if (index === 0) return 0n;
    if (symbol.name === GOT_SYMBOL) return inModule(layout.got);
    return this.#resolve(symbol.name) ?? (symbol.binding === 'weak' ? 0n : undefined);
  }

  fillGot(): void {
    for (const [symbol, at] of this.#module.layout.gotSlots) this.#put(at, this.#value(symbol) ?? 0n, this.#wordBytes);
  }

  section(section: ObjectSection): void {
    const at = this.#module.layout.sections.get(section.index);
    if (at === undefined) return;
    for (const relocation of section.relocations) this.#relocate(section, at, relocation);
  }

  #relocate(section: ObjectSection, sectionAt: number, relocation: ObjectRelocation): void {
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
    const at = sectionAt + relocation.offset;
    const slot = layout.gotSlots.get(relocation.symbol);
    const value = type.value({
      s: this.#value(relocation.symbol) ?? 0n,
      a: relocation.addend ?? this.#addendAt(at, sizeBytes),
      p: this.#base + BigInt(at),
      got: this.#base + BigInt(layout.got),
      g: slot === undefined ? 0n : this.#base + BigInt(slot),
      modrm: relocation.offset > 0 ? section.bytes[relocation.offset - 1] : 0,
    });
    if (!inRange(value, type)) {
      const far = `${type.name} to ${this.#nameOf(relocation.symbol)} at ${where}`;
      const op = this.#opAt(section, relocation.offset);
      throw moduleError('PV5026', `ops module ${title}: ${far}${op} does not reach from 0x${this.#base.toString(16)}`);
    }
    this.#put(at, value, sizeBytes);
  }

  /** `, in the implementation of SLOT,` if that is where the offset is. */
  #opAt(section: ObjectSection, offset: number): string {
    const { object, entries } = this.#module;
    const table = object.sections.find(({ name }) => name === ENTRIES_SECTION);
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

  #addendAt(at: number, sizeBytes: number): bigint {
    return sizeBytes === 8 ? this.#view.getBigInt64(at, true) : BigInt(this.#view.getInt32(at, true));
  }

  get #wordBytes(): 4 | 8 {
    return this.#module.object.class === 64 ? 8 : 4;
  }

  #put(at: number, value: bigint, sizeBytes: number): void {
    if (sizeBytes === 8) this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
    else this.#view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  }

  /** An entry of the linked table. */
  op({ slot, functionAt, previousAt }: ObjectEntry, index: number): LinkedOp {
    const { object, layout, title, keepsRegisters } = this.#module;
    const table = object.sections.find(({ name }) => name === ENTRIES_SECTION);
    const at = table && layout.sections.get(table.index);
    if (at === undefined) throw moduleError('PV5027', `ops module ${title}: ${ENTRIES_SECTION} is not to be loaded`);
    const gva = this.#word(at + functionAt);
    const previous = this.#word(at + previousAt);
    if (gva === 0n) throw moduleError('PV5027', `ops module ${title} names no implementation for ${slot}`);
    if (previous !== 0n && !this.#isWritable(previous)) {
      throw moduleError('PV5027', `ops module ${title}: ${slot} wants its predecessor in memory that is not its own`);
    }
    const entry = keepsRegisters(slot) ? this.#thunk(index, gva) : gva;
    return { slot, gva: entry, previousAt: previous === 0n ? undefined : previous };
  }

  #thunk(index: number, target: bigint): bigint {
    const at = this.#module.layout.thunks + index * THUNK_BYTES;
    const address = this.#base + BigInt(at);
    this.bytes.set(calleeSaveThunk(this.#module.object.class, address, target), at);
    return address;
  }

  #word(at: number): bigint {
    return this.#wordBytes === 8 ? this.#view.getBigUint64(at, true) : BigInt(this.#view.getUint32(at, true));
  }

  #isWritable(gva: bigint): boolean {
    const offset = gva - this.#base;
    const inside = ({ access, offset: start, sizeBytes }: ModuleSegment) =>
      access === 'write' && offset >= BigInt(start) && offset + BigInt(this.#wordBytes) <= BigInt(start + sizeBytes);
    return this.#module.layout.segments.some(inside);
  }
}
