/**
 * Structures of the public headers, described once for both word sizes. 32-bit guests see i386 rules: words of 4 bytes,
 * and 64-bit fields aligned to 4 (System V ABI, Intel386 supplement, table 3-1); 64-bit guests see AMD64's.
 */

/** Bytes of a guest's `unsigned long`, pointers, guest handles, `xen_pfn_t` and `xen_ulong_t`. */
export type WordBytes = 4 | 8;

/** Unsigned types of fixed size, and `word`, which is as wide as the guest's. */
export type Scalar = 'u8' | 'u16' | 'u32' | 'u64' | 'word';

/** A number, an array of numbers, or a structure. */
export type Field = Scalar | readonly [element: Scalar, count: number] | Struct<string>;

/** Where the fields of one structure are, in bytes, for one word size. */
export interface Layout<Name extends string> {
  readonly sizeBytes: number;
  readonly alignBytes: number;
  readonly at: Readonly<Record<Name, number>>;
}

/** {@link Layout}s by word size. */
export type Struct<Name extends string> = Readonly<Record<WordBytes, Layout<Name>>>;

const SCALAR_BYTES = { u8: 1, u16: 2, u32: 4, u64: 8 } as const;

/** A structure of the public headers; fields in order, padding as a C compiler puts it. */
export function struct<Name extends string>(fields: Readonly<Record<Name, Field>>): Struct<Name> {
  return { 4: lay(fields, 4), 8: lay(fields, 8) };
}

function lay<Name extends string>(fields: Readonly<Record<Name, Field>>, wordBytes: WordBytes): Layout<Name> {
  const at: Partial<Record<Name, number>> = {};
  let end = 0;
  let alignBytes = 1;
  for (const name of Object.keys(fields) as Name[]) {
    const field = measure(fields[name], wordBytes);
    const start = roundUp(end, field.alignBytes);
    at[name] = start;
    end = start + field.sizeBytes;
    alignBytes = Math.max(alignBytes, field.alignBytes);
  }
  return { sizeBytes: roundUp(end, alignBytes), alignBytes, at: at as Record<Name, number> };
}

function measure(field: Field, wordBytes: WordBytes): { readonly sizeBytes: number; readonly alignBytes: number } {
  if (typeof field === 'string') {
    const sizeBytes = field === 'word' ? wordBytes : SCALAR_BYTES[field];
    return { sizeBytes, alignBytes: Math.min(sizeBytes, wordBytes) };
  }
  if (!isArray(field)) return field[wordBytes];
  const element = measure(field[0], wordBytes);
  return { sizeBytes: element.sizeBytes * field[1], alignBytes: element.alignBytes };
}

function isArray(field: Exclude<Field, Scalar>): field is readonly [Scalar, number] {
  return Array.isArray(field);
}

function roundUp(value: number, alignBytes: number): number {
  return Math.ceil(value / alignBytes) * alignBytes;
}

/** A word of the guest's, zero-extended. */
export function readWord(view: DataView, offset: number, wordBytes: WordBytes): bigint {
  return wordBytes === 8 ? view.getBigUint64(offset, true) : BigInt(view.getUint32(offset, true));
}

/** Store a word of the guest's; what does not fit is cut off, as by a cast in C. */
export function writeWord(view: DataView, offset: number, value: bigint, wordBytes: WordBytes): void {
  if (wordBytes === 8) view.setBigUint64(offset, BigInt.asUintN(64, value), true);
  else view.setUint32(offset, Number(BigInt.asUintN(32, value)), true);
}

/** Bytes of consecutive words. */
export function wordList(values: readonly bigint[], wordBytes: WordBytes): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * wordBytes));
  values.forEach((value, index) => {
    writeWord(view, index * wordBytes, value, wordBytes);
  });
  return new Uint8Array(view.buffer);
}
