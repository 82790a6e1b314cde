import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProgressLine } from '../progress.ts';
import { findPackage, parseStanza, unpackedPackage } from './apt.ts';
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
      ...['modprobe', 'poweroff', 'reboot'].map((name) => `sbin/${name} -> ../bin/busybox`),
      ...['bin/sh -> busybox', 'bin/ls -> busybox', 'bin/cat -> busybox', 'bin/[ -> busybox'],
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

describe('packages that are fetched at the same time', () => {
  let directory: string;
  const log = () => readFileSync(path.join(directory, 'log'), 'utf8').trim().split('\n');
  /** A command in place of apt's: `$ours` says whether it is to look into our lists. */
  const command = (name: string, script: string) => {
    const file = path.join(directory, name);
    writeFileSync(file, `#!/bin/sh\ncase "$*" in *Dir::State*) ours=1;; *) ours=0;; esac\n${script}\n`);
    chmodSync(file, 0o755);
  };
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-apt-'));
    vi.stubEnv('PATH', `${directory}:${process.env.PATH}`);
    vi.stubEnv('XDG_CACHE_HOME', directory);
    const has = (name: string) => `case "$*" in *${name}) echo "Package: ${name}"; echo "Version: 1"; exit 0;; esac`;
    command('apt-cache', `if [ $ours = 0 ]; then ${has('common')}; else ${has('foreign')}; fi; exit 100`);
    command('apt-get', `echo "$ours" "$(echo "$*" | sed 's/.* //')" >> ${directory}/log; echo 'E: no' >&2; exit 1`);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(directory, { recursive: true });
  });

  it('come from the lists that each was found in', async () => {
    const progress = new ProgressLine();
    const load = async (name: string) => unpackedPackage(await findPackage(name, progress), ['./x'], progress);
    const errors = await Promise.all(['common', 'foreign'].map((name) => load(name).catch((error: Error) => error)));
    progress.clear();
    expect(errors.map(String)).toEqual([
      expect.stringContaining('apt-get download failed for common (no)'),
      expect.stringContaining('apt-get download failed for foreign (no)'),
    ]);
    expect(log().sort()).toEqual(['0 common=1', '1 foreign=1']);
  });

  it('bring our lists up to date once', async () => {
    const progress = new ProgressLine();
    const failures = await Promise.all(['b', 'c'].map((name) => findPackage(name, progress).catch(String)));
    progress.clear();
    expect(failures).toEqual(Array(2).fill(expect.stringContaining('apt-get update failed for package lists (no)')));
    expect(log()).toEqual(['1 update']);
  });
});
