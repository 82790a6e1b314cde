import type { ShareSession } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeFolder } from '../testing/fake-folder.ts';
import { FolderShare } from './session.ts';
import { FieldReader, FieldWriter, Message } from './wire.ts';

const TAG = 7;
const EROFS = 30;
const EBADF = 9;
const ENOENT = 2;
const EPROTO = 71;

type Fill = (fields: FieldWriter) => unknown;

/** A session, and a client that reads its replies. */
function client(files: Readonly<Record<string, string>> = {}, { writable = false, greet = true } = {}) {
  const folder = new FakeFolder(files);
  const session = new FolderShare('tag', folder, writable).connect();
  const ask = (type: number, fill: Fill) => {
    const fields = new FieldWriter();
    fill(fields);
    return decode(session, fields.finish(type, TAG));
  };
  const walk = (from: number, to: number, ...names: string[]) =>
    ask(Message.WALK, (fields) => {
      fields.u32(from).u32(to).u16(names.length);
      for (const name of names) fields.text(name);
    });
  if (greet) {
    ask(Message.VERSION, (fields) => fields.u32(8192).text('9P2000.L'));
    ask(Message.ATTACH, (fields) => fields.u32(0).u32(0xffff_ffff).text('root').text('').u32(0));
  }
  return {
    folder,
    session,
    ask,
    walk,
    open: (fid: number, flags = 0) => ask(Message.LOPEN, (f) => f.u32(fid).u32(flags)),
  };
}

function decode(session: ShareSession, message: Uint8Array) {
  const reply = session.request(message);
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length);
  expect(view.getUint32(0, true)).toBe(reply.length);
  const type = view.getUint8(4);
  const fields = new FieldReader(reply);
  const errno = type === Message.ERROR + 1 ? fields.u32() : 0;
  return { type, tag: view.getUint16(5, true), errno, fields, sizeBytes: reply.length };
}

describe('a session', () => {
  it('begins with the version, and agrees on a size', () => {
    const { session, ask } = client({}, { greet: false });
    expect(ask(Message.STATFS, (f) => f.u32(0)).errno).toBe(EPROTO);
    const reply = ask(Message.VERSION, (f) => f.u32(10_000_000).text('9P2000.L'));
    expect([reply.type, reply.tag, reply.fields.u32(), reply.fields.text()]).toEqual([101, TAG, 262_144, '9P2000.L']);
    expect(session.maxMessageBytes).toBe(262_144);
    const other = ask(Message.VERSION, (f) => f.u32(8192).text('9P2000.u'));
    expect([other.fields.u32(), other.fields.text()]).toEqual([8192, 'unknown']);
    expect(ask(Message.ATTACH, (f) => f.u32(0)).errno).toBe(EPROTO);
  });

  it('starts anew, with everything closed, at the next version', () => {
    const { folder, ask, walk, open } = client({ a: 'text' });
    walk(0, 1, 'a');
    open(1);
    expect(folder.openFiles).toBe(1);
    ask(Message.VERSION, (f) => f.u32(8192).text('9P2000.L'));
    expect(folder.openFiles).toBe(0);
    expect(walk(0, 2).errno).toBe(EBADF);
  });

  it('does not know what it does not know', () => {
    const { ask } = client();
    expect(ask(200, () => {}).errno).toBe(95);
    expect(ask(Message.XATTRWALK, () => {}).errno).toBe(95);
  });
});

describe('reading', () => {
  it('walks, opens, reads, and closes', () => {
    const { folder, ask, walk, open } = client({ 'd/file': 'the text' });
    const walked = walk(0, 1, 'd', 'file');
    expect([walked.type, walked.fields.u16(), walked.fields.u8()]).toEqual([111, 2, 0x80]);
    expect(open(1).type).toBe(13);
    const read = ask(Message.READ, (f) => f.u32(1).u64(4).u32(100));
    expect([read.fields.u32(), new TextDecoder().decode(read.fields.bytes(4))]).toEqual([4, 'text']);
    expect(ask(Message.CLUNK, (f) => f.u32(1)).type).toBe(121);
    expect([folder.openFiles, ask(Message.CLUNK, (f) => f.u32(1)).errno]).toEqual([0, EBADF]);
  });

  it('answers a walk that ends early with the part that worked, and leaves the new fid alone', () => {
    const { walk } = client({ 'd/file': '' });
    expect(walk(0, 1, 'd', 'none', 'x').fields.u16()).toBe(1);
    expect(walk(1, 2).errno).toBe(EBADF);
    expect(walk(0, 1, 'none').errno).toBe(ENOENT);
    expect(walk(0, 1, ...Array.from({ length: 17 }, () => 'd')).errno).toBe(22);
  });

  it('never goes above the root, nor anywhere else', () => {
    const { folder, walk } = client({ 'd/file': '' });
    expect(walk(0, 1, '..', '..', 'd', '..', 'd', 'file').fields.u16()).toBe(6);
    for (const name of ['/etc', 'd/file', '.', '', 'a\0b', '../x']) expect(walk(0, 2, name).errno).toBe(ENOENT);
    expect(folder.illegal).toEqual([]);
  });

  it('lists a directory in pieces that fit, each entry once', () => {
    const names = Array.from({ length: 50 }, (_, index) => `name-${index}`);
    const { ask, walk, open } = client(Object.fromEntries(names.map((name) => [name, ''])));
    walk(0, 1);
    open(1);
    const seen: string[] = [];
    let offset = 0n;
    for (let turn = 0; turn < 60; turn++) {
      const { fields } = ask(Message.READDIR, (f) => f.u32(1).u64(offset).u32(100));
      const sizeBytes = fields.u32();
      if (sizeBytes === 0) break;
      expect(sizeBytes).toBeLessThanOrEqual(100);
      for (let used = 0; used < sizeBytes; ) {
        fields.bytes(13);
        offset = fields.u64();
        fields.u8();
        const name = fields.text();
        seen.push(name);
        used += 13 + 8 + 1 + 2 + name.length;
      }
    }
    expect(seen).toEqual(['.', '..', ...names]);
  });

  it('tells size, mode and times', () => {
    const { ask, walk } = client({ a: 'four' });
    walk(0, 1, 'a');
    const { fields } = ask(Message.GETATTR, (f) => f.u32(1).u64(0x7ff));
    expect([fields.u64(), fields.u8(), fields.u32(), fields.u64()]).toEqual([
      0x7ffn,
      0,
      2_000_000_003,
      expect.anything(),
    ]);
    expect([fields.u32(), fields.u32(), fields.u32(), fields.u64(), fields.u64()]).toEqual([0o100644, 0, 0, 1n, 0n]);
    expect([fields.u64(), fields.u64(), fields.u64()]).toEqual([4n, 4096n, 1n]);
    expect([fields.u64(), fields.u64(), fields.u64(), fields.u64()]).toEqual([0n, 1n, 2n, 3n]);
  });
});

describe('writing', () => {
  const requests: readonly (readonly [string, number, Fill])[] = [
    ['write', Message.WRITE, (f) => f.u32(1).u64(0).u32(1).u8(0)],
    ['lcreate', Message.LCREATE, (f) => f.u32(0).text('n').u32(1).u32(0o644).u32(0)],
    ['symlink', Message.SYMLINK, (f) => f.u32(0).text('n').text('target').u32(0)],
    ['mknod', Message.MKNOD, (f) => f.u32(0).text('n').u32(0o100644).u32(0).u32(0).u32(0)],
    ['mkdir', Message.MKDIR, (f) => f.u32(0).text('n').u32(0o755).u32(0)],
    ['link', Message.LINK, (f) => f.u32(0).u32(1).text('n')],
    ['rename', Message.RENAME, (f) => f.u32(1).u32(0).text('n')],
    ['renameat', Message.RENAMEAT, (f) => f.u32(0).text('a').u32(0).text('n')],
    ['unlinkat', Message.UNLINKAT, (f) => f.u32(0).text('a').u32(0)],
    ['remove', Message.REMOVE, (f) => f.u32(1)],
    ['setattr', Message.SETATTR, (f) => f.u32(1).u32(1).u32(0).u32(0).u32(0).u64(0).u64(0).u64(0).u64(0).u64(0)],
    ['lopen for writing', Message.LOPEN, (f) => f.u32(1).u32(1)],
    ['lopen with O_TRUNC', Message.LOPEN, (f) => f.u32(1).u32(0o1000)],
  ];

  it.each(requests)('is refused in a read-only share: %s', (_name, type, fill) => {
    const { folder, ask, walk } = client({ a: 'text' });
    walk(0, 1, 'a');
    const before = structuredClone([...folder.entries]);
    expect(ask(type, fill).errno).toBe(EROFS);
    expect([...folder.entries]).toEqual(before);
  });

  it('makes, writes, moves and removes files; fids follow a move', () => {
    const { folder, ask, walk } = client({ 'd/old': '' }, { writable: true });
    walk(0, 1, 'd');
    expect(ask(Message.LCREATE, (f) => f.u32(1).text('new').u32(0o2).u32(0o640).u32(0)).errno).toBe(0);
    const bytes = new TextEncoder().encode('written');
    expect(ask(Message.WRITE, (f) => f.u32(1).u64(0).u32(7).bytes(bytes)).fields.u32()).toBe(7);
    expect(ask(Message.RENAMEAT, (f) => f.u32(0).text('d').u32(0).text('moved')).errno).toBe(0);
    expect(ask(Message.GETATTR, (f) => f.u32(1).u64(0)).errno).toBe(0);
    expect([...folder.entries.keys()]).toEqual(['', 'moved', 'moved/old', 'moved/new']);
    expect(ask(Message.REMOVE, (f) => f.u32(1)).errno).toBe(0);
    expect([[...folder.entries.keys()], folder.openFiles]).toEqual([['', 'moved', 'moved/old'], 0]);
  });

  it.each(['..', '.', '', 'a/b', 'x\0', 'n'.repeat(300)])('makes nothing called %j', (name) => {
    const { folder, ask } = client({}, { writable: true });
    expect(ask(Message.MKDIR, (f) => f.u32(0).text(name).u32(0o755).u32(0)).errno).toBeGreaterThan(0);
    expect([folder.entries.size, folder.illegal]).toEqual([1, []]);
  });

  it('makes no devices', () => {
    const { ask } = client({}, { writable: true });
    expect(ask(Message.MKNOD, (f) => f.u32(0).text('n').u32(0o020666).u32(1).u32(3).u32(0)).errno).toBe(1);
  });
});

it('answers whatever comes with one whole message, and asks for no path outside', () => {
  const types = Object.values(Message);
  const word = fc.constantFrom(0, 1, 2, 3, 0xffff_ffff);
  const name = fc.constantFrom('..', '.', '', 'd', 'file', '/etc/passwd', '../../x', 'a\0b');
  const field = fc.oneof(
    word.map(
      (value): Fill =>
        (f) =>
          f.u32(value),
    ),
    name.map(
      (text): Fill =>
        (f) =>
          f.text(text),
    ),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(
      (value): Fill =>
        (f) =>
          f.u64(value),
    ),
    fc.nat(17).map(
      (value): Fill =>
        (f) =>
          f.u16(value),
    ),
  );
  const message = fc.oneof(
    fc.tuple(fc.constantFrom(...types), fc.array(field, { maxLength: 8 })).map(([type, fills]) => {
      const fields = new FieldWriter();
      for (const fill of fills) fill(fields);
      return fields.finish(type, TAG);
    }),
    fc.uint8Array({ maxLength: 60 }),
  );
  fc.assert(
    fc.property(fc.array(message, { maxLength: 40 }), fc.boolean(), (messages, writable) => {
      const { folder, session } = client({ 'd/file': 'text' }, { writable });
      for (const bytes of messages) {
        const { sizeBytes } = decode(session, bytes);
        expect(sizeBytes).toBeLessThanOrEqual(session.maxMessageBytes);
      }
      session.close();
      expect([folder.illegal, folder.openFiles]).toEqual([[], 0]);
    }),
    { numRuns: 300 },
  );
});
