import { describe, expect, it } from 'vitest';
import { parseCommandLine } from './command-line.ts';
import { parseDisk, parseForward, parseNet, parseShare } from './device-options.ts';

const refused = expect.objectContaining({ code: 'PV3001', exitCode: 2 });

it('a disk is a file and perhaps a mode', () => {
  expect(parseDisk('a.img')).toEqual({ file: 'a.img', mode: 'rw' });
  expect(parseDisk('a,b.img,ro')).toEqual({ file: 'a,b.img', mode: 'ro' });
  expect(parseDisk('a.img,overlay')).toEqual({ file: 'a.img', mode: 'overlay' });
  expect(() => parseDisk('')).toThrow(refused);
});

it('a network is a kind, or a socket by path or loopback port', () => {
  expect(parseNet('none')).toEqual({ kind: 'none' });
  expect(parseNet('nat')).toEqual({ kind: 'nat', forwards: [] });
  expect(parseNet('socket:/run/x:1')).toEqual({ kind: 'socket', address: { path: '/run/x:1' } });
  expect(parseNet('socket:127.0.0.1:99')).toEqual({ kind: 'socket', address: { host: '127.0.0.1', port: 99 } });
  expect(parseNet('socket:[::1]:99')).toEqual({ kind: 'socket', address: { host: '::1', port: 99 } });
  for (const text of ['', 'tap', 'socket:', 'socket:localhost:0', 'socket:localhost:70000']) {
    expect(() => parseNet(text), text).toThrow(refused);
  }
});

it('a forward is two ports', () => {
  expect(parseForward('tcp:8080:80')).toEqual({ hostPort: 8080, guestPort: 80 });
  for (const text of ['', '80', 'tcp:80', 'udp:1:2', 'tcp:0:1', 'tcp:1:65536', 'tcp:-1:1']) {
    expect(() => parseForward(text), text).toThrow(refused);
  }
});

it('a share is a folder, a tag, and perhaps writable', () => {
  expect(parseShare('/a:src')).toEqual({ directory: '/a', tag: 'src', writable: false });
  expect(parseShare('a:b:src:rw')).toEqual({ directory: 'a:b', tag: 'src', writable: true });
  for (const text of ['', '/a', ':t', '/a:', '/a:b c', `/a:${'t'.repeat(32)}`]) {
    expect(() => parseShare(text), text).toThrow(refused);
  }
});

describe('together', () => {
  const devices = (...args: string[]) => {
    const request = parseCommandLine(['run', 'x', ...args]);
    if (request.kind !== 'run') throw new Error('no run');
    const { disks, net, shares } = request.options;
    return { disks, net, shares };
  };
  const many = (count: number, make: (index: number) => string[]) =>
    Array.from({ length: count }, (_, i) => make(i)).flat();

  it('disks and shares keep their order, and forwards imply the NAT', () => {
    expect(devices('--disk', 'a', '--disk', 'b,ro', '--share', 'd:t', '--forward', 'tcp:1:2')).toEqual({
      disks: [
        { file: 'a', mode: 'rw' },
        { file: 'b', mode: 'ro' },
      ],
      net: { kind: 'nat', forwards: [{ hostPort: 1, guestPort: 2 }] },
      shares: [{ directory: 'd', tag: 't', writable: false }],
    });
  });

  it.each([
    [['--forward', 'tcp:1:2', '--net', 'none']],
    [['--forward', 'tcp:1:2', '--net', 'socket:x']],
    [['--forward', 'tcp:1:2', '--forward', 'tcp:1:3']],
    [['--share', 'a:t', '--share', 'b:t']],
    [many(17, () => ['--disk', 'a'])],
    [many(9, (index) => ['--share', `a:t${index}`])],
  ])('is refused: %j', (args) => {
    expect(() => devices(...args)).toThrow(refused);
  });
});
