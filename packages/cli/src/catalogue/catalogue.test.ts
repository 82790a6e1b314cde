import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { parseStanza } from './apt.ts';
import { writeCpio } from './cpio.ts';
import { buildInitramfs } from './initramfs.ts';

const hasCpio = spawnSync('cpio', ['--version']).status === 0;

describe('the cpio writer', () => {
  it('writes the newc layout: header fields, names and contents padded to four bytes, trailer', () => {
    const archive = Buffer.from(writeCpio([{ kind: 'file', path: 'ab', bytes: Buffer.from('hello'), mode: 0o755 }]));
    expect(archive.length % 4).toBe(0);
    expect(archive.subarray(0, 6).toString()).toBe('070701');
    expect(archive.subarray(14, 22).toString()).toBe('000081ed');
    expect(archive.subarray(54, 62).toString()).toBe('00000005');
    expect(archive.subarray(110, 113).toString()).toBe('ab\0');
    expect(archive.subarray(116, 121).toString()).toBe('hello');
    expect(archive.includes('TRAILER!!!\0')).toBe(true);
  });

  it.runIf(hasCpio)('is read back by cpio', () => {
    const archive = buildInitramfs(Buffer.from('binary'), ['ls', 'cat', '[', '../evil', 'busybox']);
    const listing = spawnSync('cpio', ['-itv', '--quiet'], { input: archive }).stdout.toString();
    const names = listing
      .trim()
      .split('\n')
      .map((line) =>
        line
          .split(/\s+/)
          .slice(line.startsWith('c') ? 9 : 8)
          .join(' '),
      );
    expect(names).toEqual([
      ...['bin', 'dev', 'etc', 'etc/udhcpc', 'mnt', 'proc', 'root', 'sbin', 'sys', 'tmp', 'dev/console'],
      ...['init', 'etc/session', 'etc/inittab', 'etc/shrc', 'etc/udhcpc/default.script', 'bin/busybox'],
      ...['sbin/poweroff -> ../bin/busybox', 'sbin/reboot -> ../bin/busybox'],
      ...['bin/sh -> busybox', 'bin/ls -> busybox', 'bin/cat -> busybox', 'bin/[ -> busybox'],
      'sbin/modprobe -> ../bin/busybox',
    ]);
    expect(listing).toMatch(/^crw-------.* 5, +1 .* dev\/console$/m);
  });

  it('gives equal bytes for equal entries', () => {
    expect(buildInitramfs(Buffer.from('binary'), ['ls'])).toEqual(buildInitramfs(Buffer.from('binary'), ['ls']));
  });
});

describe("apt's package descriptions", () => {
  it('are read: version, size, first alternatives of the dependencies', () => {
    const text = 'Package: a\nVersion: 1:2-3\nSize: 42\nDepends: b (= 1), c | d, e:any\n\nPackage: a\nVersion: 1\n';
    expect(parseStanza('a', text)).toEqual({ name: 'a', version: '1:2-3', sizeBytes: 42, depends: ['b', 'c', 'e'] });
  });
});
