import path from 'node:path';
import { type CodeKeeper, type KeptModule, KeptRegions } from '@polyvisor/core';
import { dropOldest, markUsed } from '../cache.ts';
import {
  appendToCodeFile,
  type CodeFileContent,
  type CodeRecord,
  moduleDigest,
  readCodeFile,
  recordBytes,
  writeCodeFile,
} from './code-file.ts';
import { type Ahead, isLoaded, startAhead } from './load-ahead.ts';
import { type NativeModules, openNativeModules } from './native-modules.ts';
import { writeUsed } from './used-file.ts';

/** How large a file may become, in bytes. */
export interface FileLimits {
  /** It is written anew when it would get larger: it holds what has been replaced, and what has not been used for long. */
  readonly maxBytes: number;
  /** What it holds then at most. */
  readonly rewrittenBytes: number;
}
const LIMITS: FileLimits = { maxBytes: 192 * 2 ** 20, rewrittenBytes: 128 * 2 ** 20 };

/** All files of compiled code together; those that have not been used for longest go. */
const MAX_FOLDER_BYTES = 2 ** 30;

/** A module, in use or not. */
interface Entry {
  bytes: Uint8Array;
  readonly digest: string;
  /** Digest of its name. */
  name: string | undefined;
  /** As it is in the file. */
  record: CodeRecord | undefined;
  /** Which one of the file's records that is; -1: none that was there at the start. */
  readonly number: number;
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
  readonly #limits: FileLimits;
  #ahead: Ahead | undefined;
  /** By the digest of their bytes. */
  readonly #entries = new Map<string, Entry>();
  /** By the digest of their names. */
  readonly #named = new Map<string, Entry>();
  readonly #byModule = new WeakMap<WebAssembly.Module, Entry>();
  readonly #byKept = new WeakMap<KeptModule, Entry>();
  /** Digests of what is in use, in the order that it came to be. */
  readonly #used = new Set<string>();

  private constructor(file: string, natives: NativeModules | undefined, content: CodeFileContent, limits: FileLimits) {
    this.file = file;
    this.#limits = limits;
    this.#natives = natives;
    this.#content = content;
    for (const [number, record] of content.records.entries()) this.#load(record, number);
    for (const { kept } of this.#entries.values()) if (kept) this.regions.add(kept);
  }

  static async open(file: string, natives = openNativeModules(), limits = LIMITS): Promise<FileCodeKeeper> {
    return new FileCodeKeeper(file, natives, await readCodeFile(file), limits);
  }

  #load(record: CodeRecord, number: number): void {
    const { name, madeFor, regions, bytes, digest } = record;
    const kept = madeFor === undefined || !regions ? undefined : { madeFor, regions, bytes };
    const entry = { bytes, digest, name, record, number, kept, module: undefined, functions: [] };
    // The last one is the one that was written last.
    this.#entries.delete(digest);
    this.#entries.set(digest, entry);
    if (kept) this.#byKept.set(kept, entry);
    if (name !== undefined) this.#named.set(name, entry);
  }

  /** For a thread that loads ahead; what it has loaded is not looked at here. */
  startAhead(): Ahead {
    return (this.#ahead = startAhead(this.file));
  }

  compile(bytes: Uint8Array): WebAssembly.Module {
    const entry = this.#entryOf(bytes);
    const module = this.#asBefore(entry);
    if (module) return module;
    if (entry.record) Object.assign(entry, { bytes, record: undefined });
    return this.#compiled(entry);
  }
  named(name: string, generate: () => Uint8Array): WebAssembly.Module {
    const key = moduleDigest(Buffer.from(name));
    const entry = this.#named.get(key);
    const module = entry && this.#asBefore(entry);
    if (module) return module;
    const bytes = generate();
    const made = this.compile(bytes);
    const own = this.#entryOf(bytes);
    own.name = key;
    this.#named.set(key, own);
    return made;
  }
  moduleOf(regions: KeptModule): WebAssembly.Module | undefined {
    const entry = this.#byKept.get(regions);
    return entry && this.#asBefore(entry);
  }
  /** What there is already, here or in the file; undefined if it is damaged there. */
  #asBefore(entry: Entry): WebAssembly.Module | undefined {
    const { module, record, number, bytes } = entry;
    if (module || !record) return module;
    if (this.#ahead && number >= 0 && isLoaded(this.#ahead, number, record)) return this.#compiled(entry);
    if (!record.isWhole()) return undefined;
    const native = this.#natives && record.native();
    const found = native && this.#natives?.deserialize(native, bytes);
    return found ? this.#inUse(entry, found) : this.#compiled(entry);
  }
  #compiled(entry: Entry): WebAssembly.Module {
    return this.#inUse(entry, new WebAssembly.Module(entry.bytes as BufferSource));
  }
  #inUse(entry: Entry, module: WebAssembly.Module): WebAssembly.Module {
    entry.module = module;
    this.#used.add(entry.digest);
    this.#byModule.set(module, entry);
    return module;
  }

  keep(regions: KeptModule, module: WebAssembly.Module): void {
    const entry = this.#entryOf(regions.bytes);
    entry.kept = regions;
    this.#byKept.set(regions, entry);
    this.#inUse(entry, module);
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
      const nothing = { name: undefined, record: undefined, number: -1, kept: undefined, module: undefined };
      entry = { bytes, digest, ...nothing, functions: [] };
      this.#entries.set(digest, entry);
    }
    return entry;
  }

  /** Write what is new, what V8 has made better code of than the file has, and what was used. */
  async save(): Promise<void> {
    await this.#saveCode();
    if (this.#used.size > 0) await writeUsed(this.file, this.#used);
  }
  async #saveCode(): Promise<void> {
    const better = [...this.#entries.values()].flatMap((entry) => this.#better(entry) ?? []);
    if (better.length === 0) return markUsed(this.file);
    const { isWhole, sizeBytes } = this.#content;
    const grownBytes = better.reduce((sum, record) => sum + recordBytes(record), sizeBytes);
    if (isWhole && grownBytes <= this.#limits.maxBytes) appendToCodeFile(this.file, better);
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
    const { madeFor, regions } = kept ?? { madeFor: undefined, regions: undefined };
    const nativeBytes = native?.length ?? 0;
    const code = { bytes, digest, isWhole: () => true, native: () => native, nativeBytes };
    entry.record = { name, madeFor, regions, goodFunctions, ...code };
    return entry.record;
  }

  /** Records that fit, in the order that they are to be found in: of what was not in use what was written last, then what was. */
  #worthKeeping(): CodeRecord[] {
    let left = this.#limits.rewrittenBytes;
    const isUsed = ({ module }: Entry) => (module ? 1 : 0);
    return [...this.#entries.values()]
      .reverse()
      .sort((a, b) => isUsed(b) - isUsed(a))
      .flatMap(({ record }) => {
        if (!record?.isWhole() || recordBytes(record) > left) return [];
        left -= recordBytes(record);
        return [record];
      })
      .reverse();
  }
}
