import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type KeptRegion, PackedRegions } from '@polyvisor/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { moduleDigest, readCodeFile } from './code-file.ts';
import { FileCodeKeeper, type FileLimits } from './file-code-keeper.ts';
import type { NativeModules } from './native-modules.ts';
import { readUsed } from './used-file.ts';

/** (module (func (export "f") (result i32) i32.const VALUE)) */
const moduleOf = (value: number) =>
  Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 7, 5, 1, 1, 0x66, 0, 0],
    ...[10, 6, 1, 4, 0, 0x41, value, 0x0b],
  ]);
const resultOf = (module: WebAssembly.Module) => (new WebAssembly.Instance(module).exports.f as () => number)();
const region = (first: number): KeptRegion => ({
  mode: 'long64',
  pageBase: -0x1000n,
  growth: 0,
  tables: [],
  parts: [{ distance: 0, blocks: [16, 18], addresses: [], bytes: Uint8Array.of(first, 2) }],
});
const found = (keeper: FileCodeKeeper) => keeper.regions.of('x').long64?.[16]?.map(({ module }) => module.bytes[32]);

describe('code that is kept in a file', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-code-'));
    file = path.join(directory, 'code', 'guest');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  /** A run that makes a module of a region for each value. */
  async function run(values: readonly number[], natives?: NativeModules, limits?: FileLimits) {
    const keeper = await FileCodeKeeper.open(file, natives, limits);
    for (const value of values) {
      const bytes = moduleOf(value);
      const module = keeper.compile(bytes);
      keeper.keep({ madeFor: 'x', regions: PackedRegions.of([region(value)]), bytes }, module);
      keeper.instantiated(module, new WebAssembly.Instance(module).exports);
    }
    await keeper.save();
    return keeper;
  }

  it('is there in the next run, with what that adds to it', async () => {
    expect(found(await run([1, 2]))).toEqual([1, 2]);
    expect(found(await run([3]))).toEqual([1, 2, 3]);
    const last = await FileCodeKeeper.open(file);
    expect(found(last)).toEqual([1, 2, 3]);
    const [place] = last.regions.of('x').long64?.[16] ?? [];
    expect(place.region.parts[0].bytes).toEqual(region(1).parts[0].bytes);
    expect(resultOf(last.moduleOf(place.module) as WebAssembly.Module)).toBe(1);
  });

  it('is there by its name, and not generated again', async () => {
    const named = async (name: string, value: number) => {
      const keeper = await FileCodeKeeper.open(file);
      let generated = 0;
      const module = keeper.named(name, () => {
        generated++;
        return moduleOf(value);
      });
      keeper.instantiated(module, new WebAssembly.Instance(module).exports);
      await keeper.save();
      return { generated, result: resultOf(module) };
    };
    expect(await named('a', 1)).toEqual({ generated: 1, result: 1 });
    expect(await named('a', 2)).toEqual({ generated: 0, result: 1 });
    expect(await named('b', 2)).toEqual({ generated: 1, result: 2 });
  });

  it('is written when there is something new only', async () => {
    await run([1, 2]);
    const before = readFileSync(file);
    utimesSync(file, 1, 1);
    await run([2, 1]);
    expect(readFileSync(file).equals(before)).toBe(true);
    // It has been used.
    expect(statSync(file).mtimeMs).toBeGreaterThan(1000);
  });

  it('is what was in use, then what was written last, where a file would get too large', async () => {
    await run([1, 2, 3]);
    const recordBytes = (statSync(file).size - 16) / 3;
    const limits = { maxBytes: recordBytes * 5, rewrittenBytes: recordBytes * 4 };
    await run([4, 1], undefined, limits);
    expect(found(await FileCodeKeeper.open(file))).toEqual([1, 2, 3, 4]);
    await run([5, 1], undefined, limits);
    expect(found(await FileCodeKeeper.open(file))).toEqual([1, 2, 3, 4, 5]);
    await run([6, 1], undefined, limits);
    expect(found(await FileCodeKeeper.open(file))).toEqual([4, 5, 1, 6]);
  });

  it('is as much as is whole, and written anew, where the file is damaged', async () => {
    await run([1, 2]);
    const { size } = statSync(file);
    truncateSync(file, size - 3);
    expect(found(await FileCodeKeeper.open(file))).toEqual([1]);
    await run([3]);
    expect(found(await FileCodeKeeper.open(file))).toEqual([1, 3]);
    damage(descriptionEnd());
    expect(found(await FileCodeKeeper.open(file))).toEqual([1]);
    appendFileSync(file, 'more');
    expect(found(await FileCodeKeeper.open(file))).toEqual([1]);
    writeFileSync(file, 'something else');
    expect(found(await FileCodeKeeper.open(file))).toBeUndefined();
  });

  function damage(fromEnd: number) {
    const bytes = readFileSync(file);
    bytes[bytes.length - fromEnd] ^= 1;
    writeFileSync(file, bytes);
  }
  /** Of the last record: so many bytes before the end of the file, as there is no machine code. */
  const descriptionEnd = () => moduleOf(0).length + 1;

  it('is not taken where it turns out to be damaged, and made again', async () => {
    await run([1]);
    damage(1);
    const keeper = await FileCodeKeeper.open(file);
    const [{ module }] = keeper.regions.of('x').long64?.[16] ?? [];
    expect(keeper.moduleOf(module)).toBeUndefined();
    await run([1]);
    const again = await FileCodeKeeper.open(file);
    const places = again.regions.of('x').long64?.[16] ?? [];
    expect(places.map((place) => resultOf(again.moduleOf(place.module) as WebAssembly.Module))).toEqual([1]);
  });

  it('is not taken from a file that others can write to', async () => {
    await run([1]);
    chmodSync(file, 0o666);
    expect(found(await FileCodeKeeper.open(file))).toBeUndefined();
  });

  it('has the machine code of functions that had become good', async () => {
    const asked: string[] = [];
    const natives: NativeModules = {
      isGood: () => true,
      makeGood() {},
      serialize: () => Uint8Array.of(7, 8, 9),
      deserialize: (native, bytes) => {
        asked.push(native.join());
        return new WebAssembly.Module(bytes as BufferSource);
      },
    };
    await run([1], natives);
    await run([1], natives);
    expect(asked).toEqual(['7,8,9']);
  });

  it('is left to V8 where another thread has loaded it already', async () => {
    const natives: NativeModules = {
      isGood: () => true,
      makeGood() {},
      serialize: () => Uint8Array.of(7, 8, 9),
      deserialize: () => {
        throw new Error('not asked for');
      },
    };
    await run([1], natives);
    const { records } = await readCodeFile(file);
    const keeper = await FileCodeKeeper.open(file, natives);
    new Int32Array(keeper.startAhead().loaded)[0] = Number.parseInt(records[0].digest.slice(0, 7), 16) + 1;
    expect(resultOf(keeper.compile(moduleOf(1)))).toBe(1);
  });

  it('comes with what the last run used, in the order that it was wanted', async () => {
    await run([1, 2]);
    const keeper = await FileCodeKeeper.open(file);
    keeper.compile(moduleOf(2));
    keeper.compile(moduleOf(1));
    keeper.compile(moduleOf(2));
    await keeper.save();
    expect(await readUsed(file)).toEqual([2, 1].map((value) => moduleDigest(moduleOf(value))));
    await (await FileCodeKeeper.open(file)).save();
    expect(await readUsed(file)).toHaveLength(2);
  });

  it('leaves no half of a file behind', async () => {
    await run([1, 2]);
    expect(readdirSync(path.dirname(file))).toEqual(['guest', 'guest.used']);
  });
});
