import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { controlMethods } from './methods.ts';
import { LIMITS, RpcCode } from './protocol.ts';
import { ControlServer } from './server.ts';
import { FakeVm } from './testing/fake-vm.ts';
import { RawClient } from './testing/raw-client.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-server-'));
afterAll(() => rmSync(directory, { recursive: true }));

let vm: FakeVm;
let server: ControlServer;
let socketPath: string;
let nowMs: number;
let count = 0;
const clients: RawClient[] = [];

async function client(): Promise<RawClient> {
  const made = await RawClient.connect(socketPath);
  clients.push(made);
  return made;
}

beforeEach(async () => {
  vm = new FakeVm();
  nowMs = 0;
  server = new ControlServer(controlMethods(vm), () => nowMs);
  socketPath = path.join(directory, `${count++}`);
  server.net.listen(socketPath);
  await once(server.net, 'listening');
});
afterEach(async () => {
  for (const { socket } of clients.splice(0)) socket.destroy();
  await server.close();
});

describe('a VM', () => {
  it('answers each request with its id, in one line', async () => {
    const one = await client();
    one.send('{"jsonrpc":"2.0","id":7,"method":"vm.info"}\n{"jsonrpc":"2.0","id":"x","method":"vm.stats"}\n');
    expect(await one.next()).toEqual({ jsonrpc: '2.0', id: 7, result: vm.info() });
    expect(await one.next()).toEqual({ jsonrpc: '2.0', id: 'x', result: vm.stats() });
  });

  it('obeys a notification and does not answer it', async () => {
    const one = await client();
    one.send({ jsonrpc: '2.0', method: 'vm.pause' });
    expect(await one.call('vm.info')).toMatchObject({ result: { state: 'paused' } });
  });

  it('is paused, resumed, asked to power off, ended', async () => {
    const one = await client();
    expect(await one.call('vm.pause')).toMatchObject({ result: { state: 'paused' } });
    expect(await one.call('vm.stop')).toMatchObject({ error: { code: RpcCode.REFUSED, data: { code: 'PV3013' } } });
    expect(await one.call('vm.resume')).toMatchObject({ result: { state: 'running' } });
    expect(await one.call('vm.stop')).toMatchObject({ result: { asked: 'guest' } });
    vm.canBeAsked = false;
    expect(await one.call('vm.stop')).toMatchObject({ error: { data: { fix: 'use --force' } } });
    expect(await one.call('vm.stop', { force: true })).toMatchObject({ result: { asked: 'machine' } });
    expect(vm.done).toEqual(['pause', 'resume', 'requestPoweroff', 'requestPoweroff', 'end']);
    vm.state = 'starting';
    expect(await one.call('vm.pause')).toMatchObject({ error: { code: RpcCode.REFUSED } });
  });

  it('shows its console to every attached client, from the last output on, and takes what they type', async () => {
    const typed: string[] = [];
    vm.console.onInput((bytes) => typed.push(Buffer.from(bytes).toString()));
    vm.console.write(Buffer.from('before '));
    const [one, two] = [await client(), await client()];
    const isOutput = ({ method }: { readonly method?: unknown }) => method === 'console.output';
    const output = async (from: RawClient) => {
      const message = (await from.next(isOutput)) as { params: { data: string } } | undefined;
      return Buffer.from(message?.params.data ?? '', 'base64').toString();
    };
    for (const each of [one, one, two]) await each.call('console.attach');
    expect([await output(one), await output(one), await output(two)]).toEqual(['before ', 'before ', 'before ']);
    vm.console.write(Buffer.from('after'));
    vm.console.write(Buffer.from('!'));
    // Once each, though client one has asked twice.
    expect([await output(one), await output(two), await output(one)]).toEqual(['after', 'after', '!']);
    const data = Buffer.from('ls\n').toString('base64');
    expect(await two.call('console.input', { data })).toMatchObject({ result: {} });
    await one.call('vm.pause');
    await two.call('console.input', { data });
    expect(typed).toEqual(['ls\n']);
    await one.call('vm.resume');
    expect(typed).toEqual(['ls\n', 'ls\n']);
    expect(Buffer.concat(vm.shown).toString()).toBe('before after!');
  });

  it('keeps no more typed input than it can bear', async () => {
    vm.pause();
    const one = await client();
    const data = Buffer.alloc(40_000).toString('base64');
    const answers = [];
    for (let i = 0; i < 8; i++) answers.push((await one.call('console.input', { data }))?.error?.code);
    expect(answers).toEqual([...Array(6).fill(undefined), RpcCode.REFUSED, RpcCode.REFUSED]);
  });

  it('sends statistics at once and says how it ended', async () => {
    const one = await client();
    one.send({ jsonrpc: '2.0', id: 1, method: 'stats.watch', params: { intervalMs: 3_600_000 } });
    expect(await one.next()).toEqual({ jsonrpc: '2.0', method: 'stats', params: vm.stats() });
    expect(await one.next()).toMatchObject({ id: 1 });
    server.broadcast('vm.ended', { exitCode: 4, reason: 'crash' });
    void server.close();
    expect(await one.next()).toMatchObject({ method: 'vm.ended', params: { exitCode: 4 } });
    await one.closed;
  });
});

describe('a client is refused with a code', () => {
  it.each<[string, string, number]>([
    ['no JSON', 'hello', RpcCode.PARSE],
    ['an empty line', '', RpcCode.PARSE],
    ['no UTF-8', '"\u00ff"', RpcCode.PARSE],
    ['a batch', '[{"jsonrpc":"2.0","id":1,"method":"vm.info"}]', RpcCode.INVALID_REQUEST],
    ['another version', '{"jsonrpc":"1.0","id":1,"method":"vm.info"}', RpcCode.INVALID_REQUEST],
    ['no method', '{"jsonrpc":"2.0","id":1}', RpcCode.INVALID_REQUEST],
    ['an id that is an object', '{"jsonrpc":"2.0","id":{},"method":"vm.info"}', RpcCode.INVALID_REQUEST],
    ['a member too many', '{"jsonrpc":"2.0","id":1,"method":"vm.info","more":1}', RpcCode.INVALID_REQUEST],
    ['parameters by position', '{"jsonrpc":"2.0","id":1,"method":"vm.info","params":[]}', RpcCode.INVALID_REQUEST],
    ['an unknown method', '{"jsonrpc":"2.0","id":1,"method":"vm.fly"}', RpcCode.METHOD_NOT_FOUND],
    ['a method of every object', '{"jsonrpc":"2.0","id":1,"method":"constructor"}', RpcCode.METHOD_NOT_FOUND],
    ['an unknown parameter', '{"jsonrpc":"2.0","id":1,"method":"vm.info","params":{"a":1}}', RpcCode.INVALID_PARAMS],
    ['a bad type', '{"jsonrpc":"2.0","id":1,"method":"vm.stop","params":{"force":1}}', RpcCode.INVALID_PARAMS],
    ['no base64', '{"jsonrpc":"2.0","id":1,"method":"console.input","params":{"data":"?"}}', RpcCode.INVALID_PARAMS],
    [
      'an interval of 0',
      '{"jsonrpc":"2.0","id":1,"method":"stats.watch","params":{"intervalMs":0}}',
      RpcCode.INVALID_PARAMS,
    ],
  ])('%s', async (_what, line, code) => {
    const one = await client();
    one.send(Buffer.from(`${line}\n`, 'latin1'));
    expect(await one.next()).toMatchObject({ error: { code } });
    // And may go on.
    expect(await one.call('vm.info')).toMatchObject({ result: { name: 'fake' } });
    expect(vm.done).toEqual([]);
  });

  it('that sends too long a line, finished or not, and is dropped', async () => {
    for (const tail of ['', '\n']) {
      const one = await client();
      one.send(Buffer.concat([Buffer.alloc(LIMITS.requestBytes + 1, 0x20), Buffer.from(tail)]));
      expect(await one.next()).toMatchObject({ id: null, error: { code: RpcCode.TOO_LARGE } });
      await one.closed;
    }
  });

  it('that is one too many, until another goes', async () => {
    const many = [];
    for (let i = 0; i < LIMITS.connections; i++) many.push(await client());
    expect(await many[0].call('vm.info')).toMatchObject({ result: {} });
    const extra = await client();
    expect(await extra.next()).toMatchObject({ error: { code: RpcCode.TOO_MANY_CONNECTIONS } });
    await extra.closed;
    many[3].socket.destroy();
    await many[3].closed;
    // The server may hear of it a little later.
    for (;;) {
      const again = await client();
      const answer = await again.call('vm.info');
      if (answer && 'result' in answer) break;
    }
  });

  it('that asks too much in a second', async () => {
    const one = await client();
    const requests = '{"jsonrpc":"2.0","method":"vm.info"}\n'.repeat(LIMITS.requestsPerSecond);
    one.send(requests);
    nowMs = 999;
    const last = one.call('vm.info');
    expect(await one.next(({ error }) => error !== undefined)).toMatchObject({
      error: { code: RpcCode.TOO_MANY_REQUESTS },
    });
    expect(await last).toBeUndefined();
    await one.closed;
    const two = await client();
    two.send(requests);
    await new Promise(setImmediate);
    expect(await (await client()).call('vm.info')).toMatchObject({ result: {} });
  });

  it('that does not read, before it fills the memory', async () => {
    const one = await client();
    await one.call('console.attach');
    one.socket.pause();
    const closed = new Promise<void>((resolve) => {
      one.socket.once('error', () => {});
      one.socket.once('close', () => resolve());
    });
    for (let i = 0; i < 16; i++) vm.console.write(Buffer.alloc(1 << 20));
    one.socket.resume();
    await closed;
    expect(await (await client()).call('vm.info')).toMatchObject({ result: {} });
  });
});

it('hostile clients get coded errors, and change nothing for others', async () => {
  const good = await client();
  const json = fc.json({ maxDepth: 4 }).map((text) => `${text}\n`);
  const request = fc
    .record(
      {
        jsonrpc: fc.constantFrom('2.0', '1.0', 2),
        id: fc.anything({ maxDepth: 1 }),
        method: fc.oneof(fc.constantFrom('vm.info', 'console.input', 'stats.watch', '__proto__'), fc.string()),
        params: fc.anything({ maxDepth: 2, withNullPrototype: true }),
      },
      { requiredKeys: [] },
    )
    .map((message) => `${JSON.stringify(message)}\n`);
  const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(json, request, bytes), { maxLength: 12 }), async (parts) => {
      const bad = await RawClient.connect(socketPath);
      for (const part of parts) bad.send(part);
      bad.send('\n');
      const marker = await bad.call('vm.info');
      expect(marker).toMatchObject({ result: { name: 'fake' } });
      bad.socket.destroy();
      nowMs += 1000;
      expect(await good.call('vm.info')).toMatchObject({ result: { state: 'running' } });
    }),
    { numRuns: 300 },
  );
  expect(vm.done).toEqual([]);
});
