import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { NodeHostFolder } from './host-folder.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-folder-'));
afterAll(() => rmSync(directory, { recursive: true }));
const inside = path.join(directory, 'shared');
const at = (...names: string[]) => path.join(inside, ...names);
const READ = { read: true, write: false, truncate: false, append: false };
const WRITE = { read: false, write: true, truncate: false, append: false };
let folder: NodeHostFolder;

beforeEach(() => {
  rmSync(inside, { recursive: true, force: true });
  mkdirSync(at('sub'), { recursive: true });
  writeFileSync(path.join(directory, 'secret'), 'secret');
  writeFileSync(at('file'), 'text');
  writeFileSync(at('sub', 'inner'), 'inner');
  symlinkSync('../secret', at('leads-out'));
  symlinkSync('..', at('up'));
  symlinkSync('sub', at('leads-in'));
  folder = new NodeHostFolder(inside);
});

const errnoOf = (run: () => unknown) => {
  try {
    run();
    return 0;
  } catch (error) {
    return (error as { errno: number }).errno;
  }
};

describe('links', () => {
  it('are seen as links', () => {
    expect([folder.status(['leads-out']).kind, folder.readLink(['leads-out'])]).toEqual(['symlink', '../secret']);
  });

  it('are not followed: not at the end, not on the way, not even back inside', () => {
    const ELOOP = 40;
    expect(errnoOf(() => folder.open(['leads-out'], READ))).toBe(ELOOP);
    expect(errnoOf(() => folder.open(['leads-out'], WRITE))).toBe(ELOOP);
    expect(errnoOf(() => folder.open(['up', 'secret'], READ))).toBe(ELOOP);
    expect(errnoOf(() => folder.status(['up', 'secret']))).toBe(ELOOP);
    expect(errnoOf(() => folder.list(['up']))).toBe(ELOOP);
    expect(errnoOf(() => folder.list(['leads-in']))).toBe(ELOOP);
    expect(errnoOf(() => folder.change(['leads-out'], { sizeBytes: 0 }))).toBe(ELOOP);
    expect(errnoOf(() => folder.change(['leads-out'], { mode: 0o777 }))).toBe(95);
    expect(errnoOf(() => folder.makeDirectory(['up', 'made'], 0o755))).toBe(ELOOP);
    expect(errnoOf(() => folder.rename(['file'], ['up', 'stolen']))).toBe(ELOOP);
    expect(errnoOf(() => folder.makeHardLink(['hard'], ['leads-out']))).toBe(ELOOP);
    const create = { ...WRITE, create: { mode: 0o644, exclusive: false } };
    expect(errnoOf(() => folder.open(['up', 'made'], create))).toBe(ELOOP);
    expect(errnoOf(() => folder.open(['leads-out'], create))).toBe(ELOOP);
    expect(readFileSync(path.join(directory, 'secret'), 'utf8')).toBe('secret');
    expect([existsSync(path.join(directory, 'made')), existsSync(path.join(directory, 'stolen'))]).toEqual([
      false,
      false,
    ]);
  });

  it('themselves are removed, renamed and given times', () => {
    folder.rename(['leads-out'], ['renamed']);
    folder.change(['renamed'], { accessed: 5_000_000_000n, modified: 6_000_000_000n });
    expect(folder.status(['renamed']).modifiedNs).toBe(6_000_000_000n);
    folder.remove(['renamed'], 'file');
    expect(readFileSync(path.join(directory, 'secret'), 'utf8')).toBe('secret');
  });
});

it('a FIFO is not opened, and nothing waits for its other end', () => {
  execFileSync('mkfifo', [at('fifo')]);
  expect(folder.status(['fifo']).kind).toBe('other');
  expect(errnoOf(() => folder.open(['fifo'], READ))).toBe(22);
  expect(errnoOf(() => folder.open(['sub'], READ))).toBe(21);
});

it('files are read, written, made, moved, resized and removed', () => {
  const made = folder.open(['new'], { ...WRITE, create: { mode: 0o600, exclusive: true } });
  expect(made.write(2, Buffer.from('ab'))).toBe(2);
  made.close();
  expect([readFileSync(at('new'), 'latin1'), statSync(at('new')).mode & 0o777]).toEqual(['\0\0ab', 0o600]);
  expect(errnoOf(() => folder.open(['new'], { ...WRITE, create: { mode: 0o600, exclusive: true } }))).toBe(17);
  folder.rename(['new'], ['sub', 'moved']);
  folder.change(['sub', 'moved'], { sizeBytes: 3, mode: 0o640 });
  const read = folder.open(['sub', 'moved'], READ);
  const into = new Uint8Array(10);
  expect([read.read(1, into), into[1], folder.status(['sub', 'moved']).mode & 0o777]).toEqual([2, 0x61, 0o640]);
  read.close();
  folder.makeHardLink(['hard'], ['file']);
  expect(folder.status(['file']).links).toBe(2);
  expect(errnoOf(() => folder.remove(['sub'], 'directory'))).toBe(39);
  folder.remove(['sub', 'moved'], 'file');
  expect(folder.list(['sub'])).toEqual([{ name: 'inner', kind: 'file' }]);
  expect(errnoOf(() => folder.status(['none']))).toBe(2);
  expect(folder.capacity().blockBytes).toBeGreaterThan(0);
});
