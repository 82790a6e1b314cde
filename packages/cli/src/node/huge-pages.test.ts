import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { bufferInHugePages, memoryAdvice } from './huge-pages.ts';

const MEBIBYTE = 2 ** 20;
const PAGES_PER_MEBIBYTE = 16;

/** Sizes of the process's mappings that were advised to be in huge pages (VmFlags `hg`, proc_pid_smaps(5)), in KiB. */
function advisedMappings(): number[] {
  const mappings = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return mappings
    .filter((text) => /^VmFlags:.*\bhg\b/m.test(text))
    .map((text) => Number(/^Size:\s*(\d+) kB/m.exec(text)?.[1]));
}

it.runIf(process.platform === 'linux')('advises all of a shared WebAssembly memory', async () => {
  const pages = 37 * PAGES_PER_MEBIBYTE;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  expect(advisedMappings()).not.toContain((37 * MEBIBYTE) / 1024);
  const advice = await memoryAdvice();
  const bytes = new Uint8Array(memory.buffer);
  // A part that begins within a page, as segments of an image may.
  advice?.give(bytes, bytes.subarray(5000, 5 * MEBIBYTE));
  advice?.end();
  expect(advisedMappings()).toContain((37 * MEBIBYTE) / 1024);
});

it('gives memory that can be written, of any size', async () => {
  for (const sizeBytes of [1, 4097, 5 * MEBIBYTE + 3]) {
    const buffer = await bufferInHugePages(sizeBytes);
    expect(buffer.length).toBe(sizeBytes);
    buffer.fill(7);
    expect([buffer[0], buffer[sizeBytes - 1]]).toEqual([7, 7]);
  }
});
