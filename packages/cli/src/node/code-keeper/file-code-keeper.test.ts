import {
  appendFileSync,
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { KeptModule } from '@polyvisor/core';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FileCodeKeeper } from './file-code-keeper.ts';
import type { NativeModules } from './native-modules.ts';

/** (module (func (export "f") (result i32) i32.const VALUE)) */
const moduleOf = (value: number) =>
  Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 3, 2, 1, 0, 7, 5, 1, 1, 0x66, 0, 0],
    ...[10, 6, 1, 4, 0, 0x41, value, 0x0b],
  ]);
const resultOf = (module: WebAssembly.Module) => (new WebAssembly.Instance(module).exports.f as () => number)();
const region = (first: number): KeptModule['regions'][number] => ({
  mode: 'long64',
  pageBase: -0x1000n,
  isGrown: false,
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
  async function run(values: readonly number[], natives?: NativeModules) {
    const keeper = await FileCodeKeeper.open(file, natives);
    for (const value of values) {
      const bytes = moduleOf(value);
      const module = keeper.compile(bytes);
      keeper.keep({ madeFor: 'x', regions: [region(value)], bytes }, module);
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
    expect(place.region).toEqual(region(1));
    expect(resultOf(last.compile(place.module.bytes))).toBe(1);
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
    const { mtimeMs } = statSync(file);
    await run([2, 1]);
    expect(statSync(file).mtimeMs).toBe(mtimeMs);
  });

  it('is as much as is whole, and written anew, where the file is damaged', async () => {
    await run([1, 2]);
    const { size } = statSync(file);
    truncateSync(file, size - 3);
    expect(found(await FileCodeKeeper.open(file))).toEqual([1]);
    await run([3]);
    expect(found(await FileCodeKeeper.open(file))).toEqual([3, 1]);
    const bytes = readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    writeFileSync(file, bytes);
    expect(found(await FileCodeKeeper.open(file))).toEqual([3]);
    appendFileSync(file, 'more');
    expect(found(await FileCodeKeeper.open(file))).toEqual([3]);
    writeFileSync(file, 'something else');
    expect(found(await FileCodeKeeper.open(file))).toBeUndefined();
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

  it('leaves no half of a file behind', async () => {
    await run([1, 2]);
    expect(readdirSync(path.dirname(file))).toEqual(['guest']);
  });
});
