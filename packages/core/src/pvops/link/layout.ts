import { SectionType } from '../../loader/image/elf-constants.ts';
import type { ElfObject, ObjectSection } from '../../loader/image/elf-object.ts';
import { printable } from '../../loader/image/image-error.ts';
import { MANIFEST_SECTION } from './entries.ts';
import { usesGot } from './relocations.ts';

/** Largest module in memory. */
const MOST_BYTES = 1 << 20;
/** No section may want to be aligned to more: a page. */
const MOST_ALIGN_BYTES = 4096;

const SHF_WRITE = 1n;
const SHF_ALLOC = 2n;
const SHF_EXECINSTR = 4n;
const SHF_TLS = 0x400n;
const SHF_COMPRESSED = 0x800n;
/** SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY: code to be run when a program starts or ends. */
const CONSTRUCTORS = new Set([14, 15, 16]);
/** Parts of a program that a module does not need: unwind tables, notes. */
const LEFT_OUT = new Set(['.eh_frame', MANIFEST_SECTION]);

/** `text`: code and constants, which the guest cannot write; `data`: what it can. */
export const REGIONS = ['text', 'data'] as const;
export type RegionName = (typeof REGIONS)[number];

/** A region's needs. */
export interface Region {
  readonly sizeBytes: number;
  readonly alignBytes: number;
}

/** A place in a region. */
export interface Place {
  readonly region: RegionName;
  readonly offset: number;
}

/** Where everything comes to lie, counted from the starts of the two regions. */
export interface ModuleLayout {
  readonly regions: Readonly<Record<RegionName, Region>>;
  /** By index of section. */
  readonly sections: ReadonlyMap<number, Place>;
  /** By index of symbol. */
  readonly commons: ReadonlyMap<number, Place>;
  /** The global offset table, in `text`, and the place of each symbol that needs one. */
  readonly got: number;
  readonly gotSlots: ReadonlyMap<number, number>;
  /** Room in `text` for code of {@link THUNK_BYTES} for each entry, in their order. */
  readonly thunks: number;
}

/** What a thunk in front of an operation may have. */
export const THUNK_BYTES = 64;

/** Answers the layout, or in words why the object cannot be laid out. */
export function layOut(object: ElfObject, entryCount: number): ModuleLayout | string {
  const kept = object.sections.filter(({ flags, type, name }) => {
    const needed = (flags & SHF_ALLOC) !== 0n && type !== SectionType.SHT_NOTE;
    return needed && !LEFT_OUT.has(name);
  });
  const unsupported = kept.map(whyUnsupported).find((reason) => reason !== undefined);
  if (unsupported) return unsupported;
  const layout = new Layout(object);
  const inFile = kept.filter(({ type }) => type !== SectionType.SHT_NOBITS);
  for (const access of ['execute', 'read', 'write'] as const) {
    for (const section of inFile) if (accessOf(section) === access) layout.place(section);
  }
  for (const section of kept) if (section.type === SectionType.SHT_NOBITS) layout.place(section);
  layout.placeThunks(entryCount);
  layout.placeGot(kept);
  layout.placeCommons();
  const done = layout.done();
  const tooLarge = REGIONS.some((name) => done.regions[name].sizeBytes > MOST_BYTES);
  return tooLarge ? `it needs more than ${MOST_BYTES} bytes of memory` : done;
}

function whyUnsupported({ name, type, flags, alignBytes }: ObjectSection): string | undefined {
  const section = `section ${printable(name)}`;
  if (alignBytes > MOST_ALIGN_BYTES) return `${section} is aligned to ${alignBytes} bytes`;
  if ((flags & SHF_TLS) !== 0n) return `${section} holds thread-local variables`;
  if ((flags & SHF_COMPRESSED) !== 0n) return `${section} is compressed`;
  if (CONSTRUCTORS.has(type) || name.startsWith('.ctors') || name.startsWith('.dtors')) {
    return `${section} holds constructors or destructors, which nobody would call`;
  }
  if ((flags & SHF_WRITE) !== 0n && (flags & SHF_EXECINSTR) !== 0n) return `${section} is both code and data`;
  return undefined;
}

function accessOf({ flags, type }: ObjectSection): 'execute' | 'read' | 'write' {
  if ((flags & SHF_EXECINSTR) !== 0n) return 'execute';
  return (flags & SHF_WRITE) !== 0n || type === SectionType.SHT_NOBITS ? 'write' : 'read';
}

class Layout {
  readonly #object: ElfObject;
  readonly #regions = { text: { sizeBytes: 0, alignBytes: 1 }, data: { sizeBytes: 0, alignBytes: 1 } };
  readonly #sections = new Map<number, Place>();
  readonly #commons = new Map<number, Place>();
  readonly #gotSlots = new Map<number, number>();
  #got = 0;
  #thunks = 0;

  constructor(object: ElfObject) {
    this.#object = object;
  }

  #take(name: RegionName, sizeBytes: number, alignBytes: number): Place {
    const region = this.#regions[name];
    const offset = Math.ceil(region.sizeBytes / alignBytes) * alignBytes;
    region.sizeBytes = offset + sizeBytes;
    region.alignBytes = Math.max(region.alignBytes, alignBytes);
    return { region: name, offset };
  }

  place(section: ObjectSection): void {
    const region = accessOf(section) === 'write' ? 'data' : 'text';
    this.#sections.set(section.index, this.#take(region, section.sizeBytes, section.alignBytes));
  }

  placeThunks(count: number): void {
    this.#thunks = this.#take('text', count * THUNK_BYTES, 16).offset;
  }

  placeGot(kept: readonly ObjectSection[]): void {
    const wordBytes = this.#object.class / 8;
    this.#got = this.#take('text', 0, wordBytes).offset;
    for (const { relocations } of kept) {
      for (const { type, symbol } of relocations) {
        if (!usesGot(this.#object.class, type) || this.#gotSlots.has(symbol)) continue;
        this.#gotSlots.set(symbol, this.#take('text', wordBytes, wordBytes).offset);
      }
    }
  }

  placeCommons(): void {
    this.#object.symbols.forEach(({ place, value, sizeBytes }, index) => {
      if (place !== 'common') return;
      // The value of such a symbol is its alignment.
      const isAlignment = value > 0n && value <= BigInt(MOST_ALIGN_BYTES) && (value & (value - 1n)) === 0n;
      this.#commons.set(index, this.#take('data', Number(sizeBytes), isAlignment ? Number(value) : 16));
    });
  }

  done(): ModuleLayout {
    return {
      regions: this.#regions,
      sections: this.#sections,
      commons: this.#commons,
      got: this.#got,
      gotSlots: this.#gotSlots,
      thunks: this.#thunks,
    };
  }
}
