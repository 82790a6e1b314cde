import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, it } from 'vitest';
import { mapFile } from './mapped-file.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-mapped-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.runIf(process.platform === 'linux')('a mapped file', () => {
  it('has the bytes of the file, keeps writes to itself and outlives the replacement of the file', async () => {
    const file = path.join(folder, 'file');
    const text = 'polyvisor '.repeat(1000);
    writeFileSync(file, text);
    const mapped = await mapFile(file);
    expect(Buffer.from(mapped!).toString()).toBe(text);
    mapped![0] = 0x50;
    expect(readFileSync(file, 'utf8')).toBe(text);
    writeFileSync(`${file}.new`, 'other');
    renameSync(`${file}.new`, file);
    rmSync(file);
    expect(Buffer.from(mapped!).toString()).toBe(`P${text.slice(1)}`);
  });

  it('that is empty is not mapped, and one that is not there is an error', async () => {
    const file = path.join(folder, 'empty');
    writeFileSync(file, '');
    expect(await mapFile(file)).toBeUndefined();
    await expect(mapFile(path.join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('is not mapped in a thread, which may be ended while it loads native code', async () => {
    const source = new URL('mapped-file.ts', import.meta.url).href;
    const program = `import('tsx/esm/api').then(({ tsImport }) => tsImport(${JSON.stringify(source)}, ${JSON.stringify(import.meta.url)}))
      .then(({ mapFile }) => mapFile(${JSON.stringify(import.meta.filename)}))
      .then((mapped) => require('node:worker_threads').parentPort.postMessage(mapped === undefined));`;
    const worker = new Worker(program, { eval: true });
    expect(await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))).toBe(true);
    await worker.terminate();
  });
});
