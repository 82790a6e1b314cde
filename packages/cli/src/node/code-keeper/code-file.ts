import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, writeFileSync, writevSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { deserialize, serialize } from 'node:v8';
import { PackedRegions } from '@polyvisor/core';
import { readCached, replaceFile } from '../cache.ts';

/** A module in a file of compiled code. */
export interface CodeRecord {
  /** Digest of the name that it can be asked for by. */
  readonly name: string | undefined;
  /** Of its regions, if it is one of regions. */
  readonly madeFor: string | undefined;
  readonly regions: PackedRegions | undefined;
  /** So many of its functions are in {@link native}. */
  readonly goodFunctions: number;
  /** WebAssembly, as it was when it was written if it {@link isWhole}. */
  readonly bytes: Uint8Array;
  /** Of these {@link bytes}. */
  readonly digest: string;
  /** The {@link bytes} have not been damaged. Of most records nobody asks. */
  isWhole(): boolean;
  /** Machine code for these {@link bytes}, as it was when it was written; undefined: there is none, or either has been damaged. */
  native(): Uint8Array | undefined;
  readonly nativeBytes: number;
}
/** What is said of a module beside its code. */
interface Description extends Pick<CodeRecord, 'name' | 'madeFor' | 'goodFunctions'> {
  /** {@link PackedRegions.packed} */
  readonly regions: Uint8Array | undefined;
}

export interface CodeFileContent {
  /** As they were written; a later one of the same bytes stands for an earlier one. */
  readonly records: readonly CodeRecord[];
  readonly sizeBytes: number;
  /** Records can be put behind these. */
  readonly isWhole: boolean;
}

const MAGIC = Buffer.from('polyvisor code 2');
const DIGEST_BYTES = 32;
/** Three parts: description, WebAssembly, machine code. Their sizes as u32, then their digests. */
const DIGESTS = 12;
const HEADER_BYTES = DIGESTS + 3 * DIGEST_BYTES;

const digestOf = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest();
/** What a module's bytes are known by. */
export const moduleDigest = (bytes: Uint8Array): string => digestOf(bytes).toString('hex');

/** Everything in a file up to where it is damaged; nothing if it is not one that this user alone can have written. */
export async function readCodeFile(file: string): Promise<CodeFileContent> {
  const nothing = { records: [], sizeBytes: 0, isWhole: false };
  const all = (await isOwn(file)) ? await readCached(file) : undefined;
  if (!all || !MAGIC.equals(all.subarray(0, MAGIC.length))) return nothing;
  const records: CodeRecord[] = [];
  let at = MAGIC.length;
  for (;;) {
    const found = decoded(all, at);
    if (!found) break;
    records.push(found.record);
    at = found.end;
  }
  return { records, sizeBytes: at, isWhole: at === all.length };
}

/** Where a record stands in a file, as its header tells. */
export interface RecordPlace {
  /** Which one of the file's records it is. */
  readonly number: number;
  readonly at: number;
  readonly sizeBytes: number;
  /** {@link CodeRecord.digest} */
  readonly digest: string;
}
/** A file's records one by one, for who does not need all of them in memory. */
export interface RecordReader {
  readonly places: readonly RecordPlace[];
  /** Undefined if it is damaged. */
  read(place: RecordPlace): CodeRecord | undefined;
  close(): void;
}

/** Undefined if there is no file, or not one that this user alone can have written. */
export async function openRecords(file: string): Promise<RecordReader | undefined> {
  if (!(await isOwn(file))) return undefined;
  const descriptor = openSync(file, 'r');
  const bytesAt = (at: number, sizeBytes: number) => {
    const bytes = new Uint8Array(sizeBytes);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, sizeBytes, at));
  };
  return {
    places: MAGIC.equals(bytesAt(0, MAGIC.length)) ? placesOf(bytesAt, fstatSync(descriptor).size) : [],
    read: ({ at, sizeBytes }) => decoded(bytesAt(at, sizeBytes), 0)?.record,
    close: () => closeSync(descriptor),
  };
}

function placesOf(bytesAt: (at: number, sizeBytes: number) => Uint8Array, endAt: number): RecordPlace[] {
  const places: RecordPlace[] = [];
  let at = MAGIC.length;
  for (;;) {
    const header = bytesAt(at, HEADER_BYTES);
    if (header.length < HEADER_BYTES) return places;
    const view = new DataView(header.buffer);
    const sizeBytes = HEADER_BYTES + [0, 4, 8].reduce((sum, offset) => sum + view.getUint32(offset, true), 0);
    const digest = Buffer.from(header.subarray(DIGESTS + DIGEST_BYTES, DIGESTS + 2 * DIGEST_BYTES)).toString('hex');
    if (at + sizeBytes > endAt) return places;
    places.push({ number: places.length, at, sizeBytes, digest });
    at += sizeBytes;
  }
}

async function isOwn(file: string): Promise<boolean> {
  const found = await stat(file).catch(() => undefined);
  const userId = process.getuid?.();
  return found !== undefined && (userId === undefined || found.uid === userId) && (found.mode & 0o022) === 0;
}

/** The record at a place; undefined if there is none, or not all of it. */
function decoded(all: Uint8Array, at: number): { record: CodeRecord; end: number } | undefined {
  if (at + HEADER_BYTES > all.length) return undefined;
  const view = new DataView(all.buffer, all.byteOffset + at);
  let end = at + HEADER_BYTES;
  const parts = [0, 1, 2].map((i) => {
    const start = end;
    end += view.getUint32(i * 4, true);
    const digest = at + DIGESTS + i * DIGEST_BYTES;
    return { content: all.subarray(start, end), digest: all.subarray(digest, digest + DIGEST_BYTES) };
  });
  if (end > all.length) return undefined;
  const [description, bytes, native] = parts;
  if (!isRight(description)) return undefined;
  const { name, madeFor, goodFunctions, regions } = deserialize(description.content) as Description;
  const isWhole = once(() => isRight(bytes));
  const record = {
    name,
    madeFor,
    goodFunctions,
    regions: regions && PackedRegions.from(regions),
    bytes: bytes.content,
    digest: Buffer.from(bytes.digest).toString('hex'),
    isWhole,
    native: () => (native.content.length > 0 && isWhole() && isRight(native) ? native.content : undefined),
    nativeBytes: native.content.length,
  };
  return { record, end };
}

const isRight = ({ content, digest }: { content: Uint8Array; digest: Uint8Array }) => digestOf(content).equals(digest);

function once<T>(answer: () => T): () => T {
  let found: { readonly value: T } | undefined;
  return () => (found ??= { value: answer() }).value;
}

export async function writeCodeFile(file: string, records: readonly CodeRecord[]): Promise<void> {
  await replaceFile(file, (temporary) => {
    writeFileSync(temporary, MAGIC);
    appendToCodeFile(temporary, records);
  });
}

/** writev(2) takes 1,024 pieces. */
const RECORDS_AT_ONCE = 250;

/** Put records behind those of a file that is whole. Those of another process come before, behind or between them. */
export function appendToCodeFile(file: string, records: readonly CodeRecord[]): void {
  const descriptor = openSync(file, 'a');
  try {
    for (let i = 0; i < records.length; i += RECORDS_AT_ONCE) {
      const pieces = records.slice(i, i + RECORDS_AT_ONCE).flatMap(encoded);
      const sizeBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      if (writevSync(descriptor, pieces) < sizeBytes) throw new Error(`${file}: only a part could be written`);
    }
  } finally {
    closeSync(descriptor);
  }
}

/** About what a record takes in a file. */
export const recordBytes = ({ regions, bytes, nativeBytes }: CodeRecord): number =>
  HEADER_BYTES + (regions?.packed.length ?? 0) + bytes.length + nativeBytes;

function encoded(record: CodeRecord): Uint8Array[] {
  const { name, madeFor, goodFunctions, regions } = record;
  const description: Description = { name, madeFor, goodFunctions, regions: regions?.packed };
  const parts = [serialize(description), record.bytes, record.native() ?? new Uint8Array(0)];
  const header = Buffer.alloc(HEADER_BYTES);
  parts.forEach((part, i) => {
    header.writeUInt32LE(part.length, i * 4);
    digestOf(part).copy(header, DIGESTS + i * DIGEST_BYTES);
  });
  return [header, ...parts];
}
