import { SectionType } from '../../loader/image/elf-constants.ts';
import type { ElfObject, ObjectSection } from '../../loader/image/elf-object.ts';
import { printable } from '../../loader/image/image-error.ts';
import { MANIFEST_SECTION } from './entries.ts';
import { usesGot } from './relocations.ts';

const PAGE = 4096;
/** Largest module in memory. */
const MOST_BYTES = 1 << 20;

const SHF_WRITE = 1n;
const SHF_ALLOC = 2n;
const SHF_EXECINSTR = 4n;
const SHF_TLS = 0x400n;
const SHF_COMPRESSED = 0x800n;
/** SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_PREINIT_ARRAY: code to be run when a program starts or ends. */
const CONSTRUCTORS = new Set([14, 15, 16]);
/** Parts of a program that a module does not need: unwind tables, notes. */
const LEFT_OUT = new Set(['.eh_frame', MANIFEST_SECTION]);

export type SegmentAccess = 'execute' | 'read' | 'write';

/** A run of whole pages with the same rights. */
export interface ModuleSegment {
  readonly access: SegmentAccess;
  /** From the start of the module. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Where everything comes to lie, counted from the module's start, which is aligned to a page. */
export interface ModuleLayout {
  readonly sizeBytes: number;
  readonly segments: readonly ModuleSegment[];
  /** By index of section. */
  readonly sections: ReadonlyMap<number, number>;
  /** By index of symbol. */
  readonly commons: ReadonlyMap<number, number>;
  /** The global offset table, and the place in it of each symbol that needs one. */
  readonly got: number;
  readonly gotSlots: ReadonlyMap<number, number>;
  /** Room for code of {@link THUNK_BYTES} for each entry, in their order. */
  readonly thunks: number;
}

/** What a thunk between a calling convention and C's may have. */
export const THUNK_BYTES = 32;

/** Answers the layout, or in words why the object cannot be laid out. */
export function layOut(object: ElfObject, entryCount: number): ModuleLayout | string {
  const kept = object.sections.filter(({ flags, type, name }) => {
    const needed = (flags & SHF_ALLOC) !== 0n && type !== SectionType.SHT_NOTE;
    return needed && !LEFT_OUT.has(name);
  });
  const unsupported = kept.map(whyUnsupported).find((reason) => reason !== undefined);
  if (unsupported) return unsupported;
  const layout = new Layout(object);
  for (const access of ['execute', 'read', 'write'] as const) {
    const inFile = kept.filter((section) => accessOf(section) === access && section.type !== SectionType.SHT_NOBITS);
    for (const section of inFile) layout.place(section);
    if (access === 'execute') layout.placeThunks(entryCount);
    if (access === 'read') layout.placeGot(kept);
    if (access === 'write') {
      for (const section of kept) if (section.type === SectionType.SHT_NOBITS) layout.place(section);
      layout.placeCommons();
    }
    layout.endSegment(access);
    if (layout.at > MOST_BYTES) return `it needs more than ${MOST_BYTES} bytes of memory`;
  }
  return layout.done();
}

function whyUnsupported({ name, type, flags }: ObjectSection): string | undefined {
  const section = `section ${printable(name)}`;
  if ((flags & SHF_TLS) !== 0n) return `${section} holds thread-local variables`;
  if ((flags & SHF_COMPRESSED) !== 0n) return `${section} is compressed`;
  if (CONSTRUCTORS.has(type) || name.startsWith('.ctors') || name.startsWith('.dtors')) {
    return `${section} holds constructors or destructors, which nobody would call`;
  }
  if ((flags & SHF_WRITE) !== 0n && (flags & SHF_EXECINSTR) !== 0n) return `${section} is both code and data`;
  return undefined;
}

function accessOf({ flags, type }: ObjectSection): SegmentAccess {
  if ((flags & SHF_EXECINSTR) !== 0n) return 'execute';
  return (flags & SHF_WRITE) !== 0n || type === SectionType.SHT_NOBITS ? 'write' : 'read';
}

class Layout {
  at = 0;
  readonly #object: ElfObject;
  readonly #segments: ModuleSegment[] = [];
  readonly #sections = new Map<number, number>();
  readonly #commons = new Map<number, number>();
  readonly #gotSlots = new Map<number, number>();
  #got = 0;
  #thunks = 0;
  #segmentStart = 0;

  constructor(object: ElfObject) {
    this.#object = object;
  }

  #take(sizeBytes: number, alignBytes: number): number {
    // A module starts at a page; more than that cannot be promised.
    const start = alignUp(this.at, Math.min(alignBytes, PAGE));
    this.at = start + sizeBytes;
    return start;
  }

  place({ index, sizeBytes, alignBytes }: ObjectSection): void {
    this.#sections.set(index, this.#take(sizeBytes, alignBytes));
  }

  placeGot(kept: readonly ObjectSection[]): void {
    const wordBytes = this.#object.class / 8;
    this.#got = this.#take(0, wordBytes);
    for (const { relocations } of kept) {
      for (const { type, symbol } of relocations) {
        if (!usesGot(this.#object.class, type) || this.#gotSlots.has(symbol)) continue;
        this.#gotSlots.set(symbol, this.#take(wordBytes, wordBytes));
      }
    }
  }

  placeThunks(count: number): void {
    this.#thunks = this.#take(count * THUNK_BYTES, 16);
  }

  placeCommons(): void {
    this.#object.symbols.forEach(({ place, value, sizeBytes }, index) => {
      if (place !== 'common') return;
      const alignBytes = Number(value > 0n && value <= BigInt(PAGE) ? value : 16n);
      this.#commons.set(index, this.#take(Number(sizeBytes), alignBytes));
    });
  }

  endSegment(access: SegmentAccess): void {
    const start = this.#segmentStart;
    this.at = alignUp(this.at, PAGE);
    if (this.at > start) this.#segments.push({ access, offset: start, sizeBytes: this.at - start });
    this.#segmentStart = this.at;
  }

  done(): ModuleLayout {
    return {
      sizeBytes: this.at,
      segments: this.#segments,
      sections: this.#sections,
      commons: this.#commons,
      got: this.#got,
      gotSlots: this.#gotSlots,
      thunks: this.#thunks,
    };
  }
}

function alignUp(value: number, alignBytes: number): number {
  return Math.ceil(value / alignBytes) * alignBytes;
}
