/** A control folder on a disk that is full. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, expect, it, vi } from 'vitest';
import { claimName } from './directory.ts';

vi.mock('node:fs/promises', async (importOriginal) => {
  const original = await importOriginal<typeof import('node:fs/promises')>();
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  return { ...original, writeFile: () => Promise.reject(full) };
});

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-full-'));
afterAll(() => rmSync(directory, { recursive: true }));

it('leaves nobody listening, and no file, if the record of a VM cannot be written', async () => {
  const server = createServer();
  const record = { pid: process.pid, image: 'vmlinuz', startedAt: '2026-01-01T00:00:00Z' };
  const claim = claimName(directory, server, { wanted: undefined, base: 'vmlinuz' }, record);
  await expect(claim).rejects.toThrow(/no control socket in .*: ENOSPC: no space left on device/);
  expect(server.listening).toBe(false);
  expect(readdirSync(directory).filter((name) => name.startsWith('vmlinuz'))).toEqual([]);
});
