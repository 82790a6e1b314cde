import { type Aml, buffer } from './aml.ts';

const littleEndian = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);

/** Resource descriptors (ACPI 6.3, 6.4) for _CRS. */

/** Fixed ports that decode 16 address bits (6.4.2.5). */
export const ports = (first: number, count: number): Aml => [
  0x47,
  1,
  ...littleEndian(first, 2),
  ...littleEndian(first, 2),
  1,
  count,
];
/** An ISA interrupt: edge, active high, not shared (6.4.2.1). */
export const isaIrq = (irq: number): Aml => [0x22, ...littleEndian(1 << irq, 2)];
/** A fixed range below 4 GiB (6.4.3.4). */
export const memory32 = (address: number, sizeBytes: number, writable = true): Aml => [
  0x86,
  ...littleEndian(9, 2),
  writable ? 1 : 0,
  ...littleEndian(address, 4),
  ...littleEndian(sizeBytes, 4),
];

const ResourceType = { memory: 0, io: 1, busNumbers: 2 } as const;
/** Minimum and maximum are fixed, the device produces the range for those behind it (6.4.3.5). */
const FIXED_PRODUCED = 0x0c;

function addressSpace(
  width: { tag: number; bytes: 2 | 4 },
  type: number,
  flags: number,
  range: { first: number; sizeBytes: number },
): Aml {
  const last = range.first + range.sizeBytes - 1;
  const values = [0, range.first, last, 0, range.sizeBytes].flatMap((value) => littleEndian(value, width.bytes));
  return [width.tag, ...littleEndian(3 + values.length, 2), type, FIXED_PRODUCED, flags, ...values];
}
const WORD = { tag: 0x88, bytes: 2 } as const;
const DWORD = { tag: 0x87, bytes: 4 } as const;

/** What a host bridge hands to its bus: bus numbers, ports of all kinds, read-write non-cacheable memory. */
export const busNumbers = (first: number, count: number): Aml =>
  addressSpace(WORD, ResourceType.busNumbers, 0, { first, sizeBytes: count });
export const portWindow = (first: number, count: number): Aml =>
  addressSpace(WORD, ResourceType.io, 3, { first, sizeBytes: count });
export const memoryWindow = (first: number, sizeBytes: number): Aml =>
  addressSpace(DWORD, ResourceType.memory, 1, { first, sizeBytes });

/** A buffer of descriptors with its end tag; a checksum of 0 counts as right (6.4.2.9). */
export const resourceTemplate = (...descriptors: Aml[]): Aml => buffer([...descriptors.flat(), 0x79, 0]);
