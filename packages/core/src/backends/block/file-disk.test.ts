import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeHostFile } from '../testing/fake-host-file.ts';
import { type DiskMode, FileDisk } from './file-disk.ts';

const SECTORS = 8;

function disk(mode: DiskMode, sizeBytes = SECTORS * 512) {
  const file = new FakeHostFile(sizeBytes);
  file.bytes.forEach((_, at) => {
    file.bytes[at] = at >> 9;
  });
  const failures: string[] = [];
  return {
    file,
    failures,
    disk: new FileDisk(file, { name: 'd.img', mode, onFailure: (line) => failures.push(line) }),
  };
}
const sector = (value: number, count = 1) => new Uint8Array(512 * count).fill(value);
function read(from: FileDisk, offsetBytes: number, sizeBytes: number): Uint8Array | undefined {
  const into = new Uint8Array(sizeBytes);
  return from.read(offsetBytes, into) ? into : undefined;
}

describe('a disk', () => {
  it('is as large as the whole sectors of its file', () => {
    expect(disk('rw', 1500).disk.sizeBytes).toBe(1024);
  });

  it('writes to the file and syncs it when flushed', () => {
    const { file, disk: rw } = disk('rw');
    expect(rw.write(512, sector(0xaa))).toBe(true);
    expect(file.bytes[512]).toBe(0xaa);
    expect(file.syncs).toBe(0);
    expect(rw.flush()).toBe(true);
    expect(file.syncs).toBe(1);
  });

  it('refuses writes when it is read-only', () => {
    const { file, disk: ro } = disk('ro');
    expect(ro.readOnly).toBe(true);
    expect(ro.write(0, sector(9))).toBe(false);
    expect(file.bytes[0]).toBe(0);
  });

  it('refuses what is not whole sectors inside it, and says nothing about it', () => {
    const { failures, disk: rw } = disk('rw');
    for (const [offset, size] of [
      [1, 512],
      [0, 100],
      [-512, 512],
      [SECTORS * 512, 512],
      [(SECTORS - 1) * 512, 1024],
      [2 ** 60, 512],
      [Number.NaN, 512],
    ]) {
      expect(read(rw, offset, size)).toBeUndefined();
      expect(rw.write(offset, new Uint8Array(size))).toBe(false);
    }
    expect(failures).toEqual([]);
  });

  it('reports a failing file once, and every request as an I/O error', () => {
    const { file, failures, disk: rw } = disk('rw');
    file.failWith = 'EIO: i/o error';
    expect([read(rw, 0, 512), rw.write(0, sector(1)), rw.flush()]).toEqual([undefined, false, false]);
    expect(failures).toEqual(['disk d.img cannot be read: EIO: i/o error']);
  });

  it('takes a file that has become shorter for a failing one', () => {
    const { file, failures, disk: ro } = disk('ro');
    file.bytes = file.bytes.slice(0, 1000);
    expect(read(ro, 512, 512)).toBeUndefined();
    expect(failures).toEqual(['disk d.img cannot be read: the file ends 24 bytes too early']);
  });
});

it('an overlay behaves as a writable disk does and leaves the file alone', () => {
  const operation = fc.record({
    at: fc.nat(SECTORS - 1),
    count: fc.integer({ min: 1, max: 3 }),
    value: fc.option(fc.nat(255)),
  });
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 30 }), (operations) => {
      const rw = disk('rw').disk;
      const { file, disk: overlay } = disk('overlay');
      const before = file.bytes.slice();
      for (const { at, count, value } of operations) {
        if (value === null) expect(read(overlay, at * 512, count * 512)).toEqual(read(rw, at * 512, count * 512));
        else expect(overlay.write(at * 512, sector(value, count))).toBe(rw.write(at * 512, sector(value, count)));
      }
      expect(overlay.flush()).toBe(true);
      expect(file.bytes).toEqual(before);
      expect(file.syncs).toBe(0);
    }),
  );
});
