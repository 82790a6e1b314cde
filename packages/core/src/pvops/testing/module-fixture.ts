import { buildObject, type FixtureRelocation, type FixtureSection, type FixtureSymbol } from './object-fixture.ts';

export interface ModuleOptions {
  readonly width?: 32 | 64;
  /** Major version of the API that its entries are of. */
  readonly api?: 1 | 2;
  /** Slots that a kernel need not have: of API 2. */
  readonly optional?: readonly string[];
  /** Lines of the manifest; `null` leaves its section out. */
  readonly manifest?: string | null;
  /** Slot to the symbol of its implementation. */
  readonly ops?: Readonly<Record<string, string>>;
  /** Slot to the symbol of the place for the predecessor. */
  readonly previous?: Readonly<Record<string, string>>;
  readonly sections?: readonly FixtureSection[];
  readonly symbols?: readonly FixtureSymbol[];
}

export const MANIFEST = 'name=fixture\nversion=1.0.0\napi=^1.0\nguest=linux\n';
/** NOP, NOP, CALL rel32, RET. */
export const CODE = [0x90, 0x90, 0xe8, 0, 0, 0, 0, 0xc3];

/** An ops module whose .text is {@link CODE}, its only function `op`, and whose .data has room for a pointer, `before`. */
export function buildModule(options: ModuleOptions = {}): Uint8Array {
  const { width = 64, manifest = MANIFEST, ops = { 'mmu.write_cr3': 'op' }, previous = {} } = options;
  const text = new TextEncoder().encode(`${manifest}\0`);
  const own: FixtureSection[] = [
    { name: '.text', flags: 6, bytes: CODE, alignBytes: 16 },
    { name: '.data', flags: 3, bytes: Array(8).fill(0), alignBytes: 8 },
    options.api === 2 ? longEntries(width, ops, previous, options.optional) : entriesSection(width, ops, previous),
    ...(manifest === null ? [] : [{ name: '.pvops.manifest', bytes: text }]),
  ];
  const replaced = new Map(options.sections?.map((section) => [section.name, section]));
  const sections = own.map((section) => replaced.get(section.name) ?? section);
  for (const section of options.sections ?? []) if (!sections.includes(section)) sections.push(section);
  const symbols: FixtureSymbol[] = [
    { name: 'op', section: '.text', sizeBytes: CODE.length },
    { name: 'before', section: '.data', sizeBytes: 8 },
    ...(options.symbols ?? []),
  ];
  return buildObject({ width, sections, symbols });
}

/** Entries as pvops.h defines them. */
function entriesSection(
  width: 32 | 64,
  ops: Readonly<Record<string, string>>,
  previous: Readonly<Record<string, string>>,
): FixtureSection {
  const wordBytes = width / 8;
  const entryBytes = 48 + 2 * wordBytes + 8;
  const bytes: number[] = [];
  const relocations: FixtureRelocation[] = [];
  for (const [slot, symbol] of Object.entries(ops)) {
    const at = bytes.length;
    bytes.push(...new TextEncoder().encode(slot.padEnd(48, '\0')), ...Array(entryBytes - 48).fill(0));
    const pointer = (offset: number, name: string): FixtureRelocation => ({
      ...{ at: at + offset, type: 1, symbol: name },
      ...(width === 64 && { addend: 0 }),
    });
    if (symbol) relocations.push(pointer(48, symbol));
    if (previous[slot]) relocations.push(pointer(48 + wordBytes, previous[slot]));
  }
  return { name: '.pvops', alignBytes: 8, bytes, relocations };
}

/** The same of API 2. */
function longEntries(
  width: 32 | 64,
  ops: Readonly<Record<string, string>>,
  previous: Readonly<Record<string, string>>,
  optional: readonly string[] = [],
): FixtureSection {
  const wordBytes = width / 8;
  const sizeBytes = 8 + 2 * wordBytes + 80;
  const bytes: number[] = [];
  const relocations: FixtureRelocation[] = [];
  for (const [slot, symbol] of Object.entries(ops)) {
    const at = bytes.length + 8;
    const head = [sizeBytes, 0, 0, 0, optional.includes(slot) ? 1 : 0, 0, 0, 0];
    bytes.push(...head, ...Array(2 * wordBytes).fill(0), ...new TextEncoder().encode(slot.padEnd(80, '\0')));
    const pointer = (offset: number, name: string): FixtureRelocation => ({
      ...{ at: at + offset, type: 1, symbol: name },
      ...(width === 64 && { addend: 0 }),
    });
    if (symbol) relocations.push(pointer(0, symbol));
    if (previous[slot]) relocations.push(pointer(wordBytes, previous[slot]));
  }
  return { name: '.pvops.2', alignBytes: 8, bytes, relocations };
}
