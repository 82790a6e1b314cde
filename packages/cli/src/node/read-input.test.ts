import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readInputFile } from './read-input.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-input-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('an input file', () => {
  it.each([0, 1, 4096, 3 * 2 ** 20 + 5])('of %d bytes is read whole', async (sizeBytes) => {
    const file = path.join(folder, `${sizeBytes}`);
    const content = Buffer.alloc(sizeBytes, 'polyvisor ');
    writeFileSync(file, content);
    expect(content.equals(await readInputFile(file))).toBe(true);
  });

  it('that is missing or a folder is an error of the host', async () => {
    await expect(readInputFile(path.join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(readInputFile(folder)).rejects.toMatchObject({ code: 'EISDIR' });
  });

  it.runIf(process.platform === 'linux')('that tells no size is read to its end', async () => {
    expect(Buffer.from(await readInputFile('/proc/self/status')).toString()).toMatch(/^Name:/);
  });
});
