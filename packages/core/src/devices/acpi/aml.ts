/**
 * ACPI machine language, as bytes (ACPI 6.3, chapter 20). A term is built from the terms in it; nothing is checked
 * beyond what the encoding needs.
 */
export type Aml = readonly number[];

/** Opcodes (20.3). */
const Op = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  bytePrefix: 0x0a,
  wordPrefix: 0x0b,
  dwordPrefix: 0x0c,
  stringPrefix: 0x0d,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualName: 0x2e,
  multiName: 0x2f,
  extended: 0x5b,
  arg0: 0x68,
  store: 0x70,
  extendedDevice: 0x82,
  if: 0xa0,
  return: 0xa4,
} as const;

const littleEndian = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
const ascii = (text: string) => [...text].map((character) => character.charCodeAt(0));

/** PkgLength counts itself (20.2.4). */
function packageLength(contentBytes: number): Aml {
  if (contentBytes + 1 < 0x40) return [contentBytes + 1];
  const following = contentBytes + 2 < 0x1000 ? 1 : contentBytes + 3 < 0x100000 ? 2 : 3;
  const total = contentBytes + 1 + following;
  return [(following << 6) | (total & 0x0f), ...littleEndian(total >>> 4, following)];
}
const packaged = (opcode: Aml, content: Aml): Aml => [...opcode, ...packageLength(content.length), ...content];

/** `\_SB.PCI0` (20.2.2); segments are filled up to four characters. */
export function nameString(path: string): Aml {
  const root = path.startsWith('\\');
  const segments = (root ? path.slice(1) : path).split('.').filter((segment) => segment !== '');
  const bytes = segments.flatMap((segment) => ascii(segment.padEnd(4, '_')));
  const prefix = segments.length === 2 ? [Op.dualName] : segments.length > 2 ? [Op.multiName, segments.length] : [];
  const empty = segments.length === 0 ? [0] : [];
  return [...(root ? ascii('\\') : []), ...prefix, ...bytes, ...empty];
}

export function integer(value: number): Aml {
  if (value === 0) return [Op.zero];
  if (value === 1) return [Op.one];
  if (value < 0x100) return [Op.bytePrefix, value];
  if (value < 0x10000) return [Op.wordPrefix, ...littleEndian(value, 2)];
  return [Op.dwordPrefix, ...littleEndian(value, 4)];
}
export const text = (value: string): Aml => [Op.stringPrefix, ...ascii(value), 0];

/** A compressed identifier of seven characters, `PNP0A03` (19.3.4). */
export function eisaId(id: string): Aml {
  const [a, b, c] = ascii(id).map((code) => code - 0x40);
  const product = Number.parseInt(id.slice(3), 16);
  const first = (a << 2) | (b >> 3);
  const second = ((b & 7) << 5) | c;
  return [Op.dwordPrefix, first, second, product >> 8, product & 0xff];
}

export const name = (path: string, object: Aml): Aml => [Op.name, ...nameString(path), ...object];
export const scope = (path: string, ...terms: Aml[]): Aml =>
  packaged([Op.scope], [...nameString(path), ...terms.flat()]);
export const device = (path: string, ...terms: Aml[]): Aml =>
  packaged([Op.extended, Op.extendedDevice], [...nameString(path), ...terms.flat()]);
export const method = (path: string, argumentCount: number, ...terms: Aml[]): Aml =>
  packaged([Op.method], [...nameString(path), argumentCount, ...terms.flat()]);
export const packageOf = (...elements: Aml[]): Aml => packaged([Op.package], [elements.length, ...elements.flat()]);
export const buffer = (bytes: Aml): Aml => packaged([Op.buffer], [...integer(bytes.length), ...bytes]);
export const ifTrue = (predicate: Aml, ...terms: Aml[]): Aml => packaged([Op.if], [...predicate, ...terms.flat()]);
export const store = (source: Aml, target: Aml): Aml => [Op.store, ...source, ...target];
export const returnOf = (object: Aml): Aml => [Op.return, ...object];
export const argument = (index: number): Aml => [Op.arg0 + index];
