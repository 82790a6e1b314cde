import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PackedRegions } from '@polyvisor/core';
import { expect, it } from 'vitest';
import { moduleDigest, readCodeFile, writeCodeFile } from './code-file.ts';
import { improveAhead, isLoaded, loadAhead, startAhead } from './load-ahead.ts';
import { openNativeModules } from './native-modules.ts';
import { readUsed, writeUsed } from './used-file.ts';

/** (module (func (export NAME) (param i32) (result i32) …)): the sum of 1 to n, in a loop. */
const sumModule = (name: string) =>
  Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0],
    ...[7, name.length + 4, 1, name.length, ...Buffer.from(name), 0, 0],
    ...[10, 27, 1, 25, 1, 1, 0x7f, 3, 0x40, 0x20, 1, 0x20, 0, 0x6a, 0x21, 1, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0],
    ...[0x0b, 0x20, 1, 0x0b],
  ]);
const SUM = sumModule('sum');

/** The module, once V8 has made good code of it. */
async function goodModule(): Promise<WebAssembly.Module> {
  const module = new WebAssembly.Module(SUM);
  const { sum } = new WebAssembly.Instance(module).exports as { sum(n: number): number };
  for (let i = 0; i < 200_000 && !openNativeModules()?.isGood(sum); i++) {
    expect(sum(1000)).toBe(500_500);
    if (i % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return module;
}

it.runIf(openNativeModules())('machine code of a module can be taken out and put in again', async () => {
  const natives = openNativeModules();
  const native = natives?.serialize(await goodModule()) as Uint8Array;
  // As a part of something larger, as it comes out of a file.
  const again = natives?.deserialize(Buffer.concat([Buffer.alloc(5), native]).subarray(5), SUM) as WebAssembly.Module;
  const { sum: sumAgain } = new WebAssembly.Instance(again).exports as { sum(n: number): number };
  expect(natives?.isGood(sumAgain)).toBe(true);
  expect(sumAgain(1000)).toBe(500_500);
});

it.runIf(openNativeModules())(
  'machine code of a file is loaded ahead, and what has none is compiled, but nothing of what is broken',
  async () => {
    const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-ahead-'));
    const file = path.join(directory, 'guest');
    const native = openNativeModules()?.serialize(await goodModule()) as Uint8Array;
    const record = (bytes: Uint8Array, code: Uint8Array) => ({
      ...{
        name: undefined,
        madeFor: undefined,
        regions: undefined,
        goodFunctions: 1,
        bytes,
        digest: moduleDigest(bytes),
      },
      ...{ isWhole: () => true, native: () => code, nativeBytes: code.length },
    });
    const otherwise = Uint8Array.from(SUM, (byte, i) => (i === SUM.length - 2 ? byte ^ 1 : byte));
    await writeCodeFile(file, [
      record(SUM, native),
      record(otherwise, new Uint8Array(0)),
      record(otherwise, new Uint8Array(100)),
    ]);
    const ahead = startAhead(file);
    expect(await loadAhead(ahead)).toBe(2);
    const { records } = await readCodeFile(file);
    expect(records.map((each, number) => isLoaded(ahead, number, each))).toEqual([true, true, false]);
    // The same number in another file.
    expect(isLoaded(ahead, 0, records[1])).toBe(false);
    expect(isLoaded(ahead, 1 << 20, records[0])).toBe(false);
    expect(await loadAhead(startAhead(path.join(directory, 'none')))).toBe(0);
    // What the last run used, and no more; what is not there any more is passed over.
    await writeUsed(file, ['00', moduleDigest(otherwise)]);
    expect(await loadAhead(startAhead(file))).toBe(0);
    await writeUsed(file, [moduleDigest(otherwise), moduleDigest(SUM)]);
    expect(await readUsed(file)).toEqual([moduleDigest(otherwise), moduleDigest(SUM)]);
    expect(await loadAhead(startAhead(file))).toBe(1);
    rmSync(directory, { recursive: true });
  },
);

it.runIf(openNativeModules())('what has no good code is given it ahead, before it has run', async () => {
  const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-ahead-'));
  const file = path.join(directory, 'guest');
  const bytes = sumModule('region0');
  const parts = [{ distance: 0, blocks: [16, 18], addresses: [], bytes: Uint8Array.of(1, 2) }];
  const regions = PackedRegions.of([{ mode: 'long64', pageBase: 0n, growth: 0, tables: [], parts }]);
  await writeCodeFile(file, [
    {
      ...{ name: undefined, madeFor: 'x', regions, goodFunctions: 0, bytes, digest: moduleDigest(bytes) },
      ...{ isWhole: () => true, native: () => undefined, nativeBytes: 0 },
    },
  ]);
  const isGood = () => {
    const { region0 } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
    return openNativeModules()?.isGood(region0);
  };
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  expect(await loadAhead(startAhead(file))).toBe(1);
  expect(isGood()).toBe(false);
  expect(await improveAhead(memory)).toBe(1);
  expect(isGood()).toBe(true);
  expect(await improveAhead(memory)).toBe(0);
  rmSync(directory, { recursive: true });
});

it.runIf(openNativeModules())('machine code of another kind is not taken', () => {
  expect(openNativeModules()?.deserialize(new Uint8Array(100), SUM)).toBeUndefined();
});
