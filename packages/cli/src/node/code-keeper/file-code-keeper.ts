import path from 'node:path';
import { type CodeKeeper, type KeptModule, KeptRegions } from '@polyvisor/core';
import { dropOldest } from '../cache.ts';
import {
  appendToCodeFile,
  type CodeFileContent,
  type CodeRecord,
  moduleDigest,
  readCodeFile,
  recordBytes,
  writeCodeFile,
} from './code-file.ts';
import { type NativeModules, openNativeModules } from './native-modules.ts';

/** A file is written anew when it would get larger than this, and is half of it then at most. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

/** All files of compiled code together; those that have not been written to for longest go. */
const MAX_FOLDER_BYTES = 512 * 2 ** 20;

/** A module, in use or not. */
interface Entry {
  readonly bytes: Uint8Array;
  readonly digest: string;
  /** Digest of its name. */
  name: string | undefined;
  /** As it is in the file. */
  record: CodeRecord | undefined;
  /** Of a module of regions. */
  kept: KeptModule | undefined;
  module: WebAssembly.Module | undefined;
  functions: readonly unknown[];
}

/** Keeps compiled code in a file. */
export class FileCodeKeeper implements CodeKeeper {
  readonly regions = new KeptRegions();
  readonly file: string;
  readonly #natives: NativeModules | undefined;
  readonly #content: CodeFileContent;
  /** By the digest of their bytes. */
  readonly #entries = new Map<string, Entry>();
  /** By the digest of their names. */
  readonly #named = new Map<string, Entry>();
  readonly #byModule = new WeakMap<WebAssembly.Module, Entry>();

  private constructor(file: string, natives: NativeModules | undefined, content: CodeFileContent) {
    this.file = file;
    this.#natives = natives;
    this.#content = content;
    for (const record of content.records) this.#load(record);
    for (const { kept } of this.#entries.values()) if (kept) this.regions.add(kept);
  }

  static async open(file: string, natives = openNativeModules()): Promise<FileCodeKeeper> {
    return new FileCodeKeeper(file, natives, await readCodeFile(file));
  }

  #load(record: CodeRecord): void {
    const { name, madeFor, regions, bytes, digest } = record;
    const kept = madeFor === undefined ? undefined : { madeFor, regions, bytes };
    const entry = { bytes, digest, name, record, kept, module: undefined, functions: [] };
    this.#entries.set(digest, entry);
    if (name !== undefined) this.#named.set(name, entry);
  }

  compile(bytes: Uint8Array): WebAssembly.Module {
    return this.#moduleOf(this.#entryOf(bytes));
  }
  named(name: string, generate: () => Uint8Array): WebAssembly.Module {
    const key = moduleDigest(Buffer.from(name));
    let entry = this.#named.get(key);
    if (!entry) {
      entry = this.#entryOf(generate());
      entry.name = key;
      this.#named.set(key, entry);
    }
    return this.#moduleOf(entry);
  }
  #moduleOf(entry: Entry): WebAssembly.Module {
    entry.module ??= this.#asBefore(entry) ?? new WebAssembly.Module(entry.bytes as BufferSource);
    this.#byModule.set(entry.module, entry);
    return entry.module;
  }
  #asBefore({ record, bytes }: Entry): WebAssembly.Module | undefined {
    const native = record?.native();
    return native && this.#natives?.deserialize(native, bytes);
  }

  keep(regions: KeptModule, module: WebAssembly.Module): void {
    const entry = this.#entryOf(regions.bytes);
    entry.kept = regions;
    entry.module = module;
    this.#byModule.set(module, entry);
    this.regions.add(regions);
  }

  instantiated(module: WebAssembly.Module, exports: WebAssembly.Exports): void {
    const entry = this.#byModule.get(module);
    if (entry) entry.functions = Object.values(exports).filter((each) => typeof each === 'function');
  }

  #entryOf(bytes: Uint8Array): Entry {
    const digest = moduleDigest(bytes);
    let entry = this.#entries.get(digest);
    if (!entry) {
      entry = { bytes, digest, name: undefined, record: undefined, kept: undefined, module: undefined, functions: [] };
      this.#entries.set(digest, entry);
    }
    return entry;
  }

  /** Write what is new, and what V8 has made better code of than the file has. */
  async save(): Promise<void> {
    const better = [...this.#entries.values()].flatMap((entry) => this.#better(entry) ?? []);
    if (better.length === 0) return;
    const { isWhole, sizeBytes } = this.#content;
    const grownBytes = better.reduce((sum, record) => sum + recordBytes(record), sizeBytes);
    if (isWhole && grownBytes <= MAX_FILE_BYTES) appendToCodeFile(this.file, better);
    else await writeCodeFile(this.file, this.#worthKeeping());
    await dropOldest(path.dirname(this.file), MAX_FOLDER_BYTES);
  }

  /** The record that is to be written for an entry, if there is a better one than that of the file. */
  #better(entry: Entry): CodeRecord | undefined {
    const { bytes, digest, name, record, kept, module, functions } = entry;
    const natives = this.#natives;
    if (!module) return undefined;
    const goodFunctions = natives ? functions.filter((each) => natives.isGood(each)).length : 0;
    if (record ? goodFunctions <= record.goodFunctions : goodFunctions === 0 && !kept && name === undefined)
      return undefined;
    const native = natives && goodFunctions > 0 ? natives.serialize(module) : undefined;
    const { madeFor, regions } = kept ?? { madeFor: undefined, regions: [] };
    const nativeBytes = native?.length ?? 0;
    entry.record = { name, madeFor, regions, goodFunctions, bytes, digest, native: () => native, nativeBytes };
    return entry.record;
  }

  /** Records that fit: those in use first. */
  #worthKeeping(): CodeRecord[] {
    const isUsed = ({ module }: Entry) => (module ? 1 : 0);
    let left = MAX_FILE_BYTES / 2;
    return [...this.#entries.values()]
      .sort((a, b) => isUsed(b) - isUsed(a))
      .flatMap(({ record }) => {
        if (!record || recordBytes(record) > left) return [];
        left -= recordBytes(record);
        return [record];
      });
  }
}
