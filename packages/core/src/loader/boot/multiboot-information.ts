import type { MemoryMap, MemoryRegion } from './memory-map.ts';
import type { PlacedModule } from './placement.ts';

/** What a loader tells an image. */
export interface InformationParts {
  readonly commandLine: string;
  readonly modules: readonly PlacedModule[];
  readonly memoryMap: MemoryMap;
  readonly lowerKib: number;
  readonly upperKib: number;
  readonly rsdp?: Uint8Array;
}

const LOADER = 'Polyvisor';
/** Types of the memory map: those of INT 15h, AX = E820h (0.6.96, 3.3; 2.0, 3.6.8). */
const TYPE: Record<MemoryRegion['kind'], number> = { ram: 1, reserved: 2, acpi: 3 };
const encode = (text: string) => new TextEncoder().encode(`${text}\0`);

/** Fields of the Multiboot information and the flag that says that each is there (0.6.96, 3.3). */
const Field = { memLower: 4, memUpper: 8, cmdline: 16, mods: 20, mmap: 44, loaderName: 64, sizeBytes: 120 } as const;
const Flag = { MEMORY: 1 << 0, CMDLINE: 1 << 2, MODS: 1 << 3, MMAP: 1 << 6, LOADER_NAME: 1 << 9 } as const;
const MODULE_BYTES = 16;
const MAP_ENTRY_BYTES = 24;

/** Multiboot information as it is at guest-physical `at`, with all that it points to. */
export function multiboot1Information(at: number, parts: InformationParts): Uint8Array {
  const { modules, memoryMap } = parts;
  const modsAt = Field.sizeBytes;
  const mapAt = modsAt + modules.length * MODULE_BYTES;
  const strings = [parts.commandLine, LOADER, ...modules.map(({ commandLine }) => commandLine)].map(encode);
  let next = mapAt + memoryMap.length * MAP_ENTRY_BYTES;
  const places = strings.map((bytes) => (next += bytes.length) - bytes.length);
  const bytes = new Uint8Array(next);
  const view = new DataView(bytes.buffer);
  const set = (offset: number, ...values: number[]) => {
    values.forEach((value, i) => view.setUint32(offset + 4 * i, value, true));
  };
  set(0, Flag.MEMORY | Flag.CMDLINE | Flag.MODS | Flag.MMAP | Flag.LOADER_NAME);
  set(Field.memLower, parts.lowerKib);
  set(Field.memUpper, parts.upperKib);
  set(Field.cmdline, at + places[0]);
  set(Field.mods, modules.length, at + modsAt);
  set(Field.mmap, memoryMap.length * MAP_ENTRY_BYTES, at + mapAt);
  set(Field.loaderName, at + places[1]);
  modules.forEach(({ first, end }, i) => {
    set(modsAt + i * MODULE_BYTES, first, end, at + places[2 + i], 0);
  });
  memoryMap.forEach(({ first, sizeBytes, kind }, i) => {
    const entry = mapAt + i * MAP_ENTRY_BYTES;
    // size does not count itself.
    set(entry, MAP_ENTRY_BYTES - 4);
    view.setBigUint64(entry + 4, BigInt(first), true);
    view.setBigUint64(entry + 12, BigInt(sizeBytes), true);
    set(entry + 20, TYPE[kind]);
  });
  strings.forEach((string, i) => {
    bytes.set(string, places[i]);
  });
  return bytes;
}

/** Types of the Multiboot2 information's tags (2.0, 3.6). */
const Tag = { END: 0, COMMAND_LINE: 1, LOADER_NAME: 2, MODULE: 3, MEMORY: 4, MAP: 6, NEW_RSDP: 15 } as const;
const TAG_ALIGN = 8;
const MAP_VERSION = 0;

/** Multiboot2 information: tag after tag. It points to modules alone, and so does not depend on where it is. */
export function multiboot2Information(_at: number, parts: InformationParts): Uint8Array {
  const words = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
  const tags = [
    tag(Tag.COMMAND_LINE, encode(parts.commandLine)),
    tag(Tag.LOADER_NAME, encode(LOADER)),
    ...parts.modules.map(({ first, end, commandLine }) => tag(Tag.MODULE, words(first, end), encode(commandLine))),
    tag(Tag.MEMORY, words(parts.lowerKib, parts.upperKib)),
    tag(Tag.MAP, words(MAP_ENTRY_BYTES, MAP_VERSION), ...parts.memoryMap.map(mapEntry2)),
    ...(parts.rsdp ? [tag(Tag.NEW_RSDP, parts.rsdp)] : []),
    tag(Tag.END),
  ];
  const sizeBytes = 8 + tags.reduce((sum, { length }) => sum + length, 0);
  return concat([words(sizeBytes, 0), ...tags]);
}

/** Type, size, content, and padding that size does not count (2.0, 3.6.2). */
function tag(type: number, ...content: readonly Uint8Array[]): Uint8Array {
  const sizeBytes = content.reduce((sum, { length }) => sum + length, 8);
  const bytes = new Uint8Array(Math.ceil(sizeBytes / TAG_ALIGN) * TAG_ALIGN);
  bytes.set(new Uint8Array(Uint32Array.from([type, sizeBytes]).buffer));
  bytes.set(concat(content), 8);
  return bytes;
}

function mapEntry2({ first, sizeBytes, kind }: MemoryRegion): Uint8Array {
  const view = new DataView(new ArrayBuffer(MAP_ENTRY_BYTES));
  view.setBigUint64(0, BigInt(first), true);
  view.setBigUint64(8, BigInt(sizeBytes), true);
  view.setUint32(16, TYPE[kind], true);
  return new Uint8Array(view.buffer);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
