import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, utimesSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Claim, claimName, controlDirectory, findVms } from './directory.ts';
import { nameFrom } from './names.ts';

const base = mkdtempSync(path.join(tmpdir(), 'polyvisor-dir-'));
afterAll(() => rmSync(base, { recursive: true }));

let directory: string;
let count = 0;
const servers: Server[] = [];
const claims: Claim[] = [];
const record = { pid: process.pid, image: 'kernel', startedAt: '2025-01-01T00:00:00.000Z' };

beforeEach(() => {
  vi.stubEnv('XDG_RUNTIME_DIR', path.join(base, `${count++}`));
  mkdirSync(process.env.XDG_RUNTIME_DIR as string);
  directory = controlDirectory();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const { release } of claims.splice(0)) release();
  for (const server of servers.splice(0)) server.close();
});

async function claim(wanted?: string, image = 'kernel') {
  const server = createServer();
  servers.push(server);
  const claimed = await claimName(directory, server, { wanted, base: nameFrom(image) }, record);
  claims.push(claimed);
  return claimed;
}
const names = async () => (await findVms(directory)).map(({ name }) => name);
const mode = (file: string) => statSync(file).mode & 0o777;

/** A process that has a socket there and is killed before it can clean up. */
async function deadVm(name: string): Promise<void> {
  const listen = `require('net').createServer().listen(${JSON.stringify(path.join(directory, `${name}.sock`))}, () => console.log())`;
  const child = spawn(process.execPath, ['-e', listen], { stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'close');
}

describe('the folder of control sockets', () => {
  it('and all in it is for its user alone', async () => {
    const { name } = await claim('one');
    expect(mode(directory)).toBe(0o700);
    expect(mode(path.join(directory, `${name}.sock`))).toBe(0o600);
    expect(mode(path.join(directory, `${name}.json`))).toBe(0o600);
  });

  it('is under the folder for temporary files where there is no XDG_RUNTIME_DIR', () => {
    vi.stubEnv('XDG_RUNTIME_DIR', '');
    vi.stubEnv('TMPDIR', base);
    expect(controlDirectory()).toBe(path.join(base, `polyvisor-${process.getuid?.()}`));
    vi.stubEnv('XDG_RUNTIME_DIR', 'relative');
    expect(path.dirname(controlDirectory())).toBe(base);
  });

  it('is refused if others may use it, or if it is a link or a file', () => {
    chmodSync(directory, 0o750);
    expect(() => controlDirectory()).toThrow(expect.objectContaining({ code: 'PV3010', exitCode: 10 }));
    expect(() => controlDirectory()).toThrow('mode 750');
    chmodSync(directory, 0o700);
    const elsewhere = path.join(base, `elsewhere-${count}`);
    mkdirSync(elsewhere);
    symlinkSync(directory, path.join(elsewhere, 'polyvisor'));
    vi.stubEnv('XDG_RUNTIME_DIR', elsewhere);
    expect(() => controlDirectory()).toThrow('not a folder');
    vi.stubEnv('XDG_RUNTIME_DIR', path.join(base, 'nosuch'));
    expect(() => controlDirectory()).toThrow(expect.objectContaining({ code: 'PV3010' }));
  });
});

describe('names', () => {
  it('are made of the image, and numbered', async () => {
    for (let i = 0; i < 3; i++) await claim();
    expect(claims.map(({ name }) => name)).toEqual(['kernel', 'kernel-2', 'kernel-3']);
    claims[1].release();
    expect((await claim()).name).toBe('kernel-2');
    expect(await names()).toEqual(['kernel', 'kernel-2', 'kernel-3']);
    expect(await findVms(directory)).toMatchObject([{ record: { name: 'kernel', ...record } }, {}, {}]);
  });

  it('leave nothing behind once they are released', async () => {
    const listeners = process.listenerCount('exit');
    const { release } = await claim();
    expect(process.listenerCount('exit')).toBe(listeners + 1);
    release();
    expect(process.listenerCount('exit')).toBe(listeners);
    expect(readdirSync(directory)).toEqual([]);
  });

  it('are each given once, even if many ask at the same time', async () => {
    const given = await Promise.all(Array.from({ length: 6 }, () => claim()));
    expect(new Set(given.map(({ name }) => name)).size).toBe(6);
    const wanted = await Promise.allSettled(Array.from({ length: 4 }, () => claim('mine')));
    expect(wanted.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of wanted) if (result.status === 'rejected') expect(result.reason.code).toBe('PV3012');
  });

  it.each([
    ['vmlinuz-6.1.0', 'vmlinuz-6.1.0'],
    ['../../etc', 'etc'],
    ['a b/c', 'a-b-c'],
    ['...', 'vm'],
    ['x'.repeat(50), 'x'.repeat(32)],
  ])('%s gives %s', (image, name) => {
    expect(nameFrom(image)).toBe(name);
  });

  it('are refused where their path is too long for a socket', async () => {
    vi.stubEnv('XDG_RUNTIME_DIR', path.join(base, 'x'.repeat(100)));
    mkdirSync(process.env.XDG_RUNTIME_DIR as string);
    directory = controlDirectory();
    await expect(claim('one')).rejects.toMatchObject({ code: 'PV3010' });
  });
});

describe('what a dead VM has left', () => {
  it('is removed by a look at the VMs', async () => {
    await deadVm('dead');
    await claim('alive');
    expect(readdirSync(directory).sort()).toEqual(['alive.json', 'alive.sock', 'dead.sock']);
    expect(await names()).toEqual(['alive']);
    expect(readdirSync(directory).sort()).toEqual(['alive.json', 'alive.sock']);
  });

  it('does not keep its name from the next', async () => {
    await deadVm('kernel');
    expect((await claim()).name).toBe('kernel');
  });

  it('a lock, does not keep others waiting for ever', async () => {
    const lock = path.join(directory, '.lock');
    mkdirSync(lock);
    const longAgo = new Date(Date.now() - 60_000);
    utimesSync(lock, longAgo, longAgo);
    expect((await claim('one')).name).toBe('one');
    expect(readdirSync(directory)).not.toContain('.lock');
  });
});
