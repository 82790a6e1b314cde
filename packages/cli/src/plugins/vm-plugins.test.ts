/** The plug-ins of a running VM, through its control socket. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PluginRegistry } from '@polyvisor/core';
import type { BootRequest, Machine, Plugin, PluginHost, Vcpu } from '@polyvisor/plugin-api';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { controlMethods } from '../control/methods.ts';
import { RpcCode } from '../control/protocol.ts';
import { ControlServer } from '../control/server.ts';
import { FakeVm } from '../control/testing/fake-vm.ts';
import { RawClient } from '../control/testing/raw-client.ts';
import { VmPlugins } from './vm-plugins.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-vm-plugins-'));
afterAll(() => rmSync(directory, { recursive: true }));

const plugin = (name: string, apply: (host: PluginHost) => void = () => {}, fields: Partial<Plugin> = {}): Plugin => ({
  ...{ name, version: '1.0.0', api: '^1.7', apply, ...fields },
});
const throws = (error: unknown) => () => {
  throw error;
};
/** As from a plug-in with a copy of the API package of its own. */
const foreign = Object.assign(new Error('the moon is wrong'), { code: 'MOON1', fix: 'wait' });

const modules: Readonly<Record<string, unknown>> = {
  './counts.ts': plugin('counts', (host) => host.claim({ kind: 'ident', ident: 5 }), { options: { to: 'a file' } }),
  './rival.ts': plugin('rival', (host) => host.claim({ kind: 'ident', ident: 5 })),
  './late.ts': plugin('late', ({ hooks }) => hooks.boot.tap('late', () => undefined)),
  './thrower.ts': plugin('thrower', throws(new Error('not today'))),
  './moon.ts': plugin('moon', throws(foreign)),
  './shown.ts': plugin('shown', ({ hooks }) => hooks.vcpuCreate.tap('shown', throws(new Error('too many')))),
  './needs.ts': plugin('needs', () => {}, { requires: { counts: '^1.0' } }),
  './mute.ts': plugin('mute', ({ hooks }) => hooks.inUse.tap('mute', throws(new Error('no idea')))),
  './none.ts': undefined,
};
const importer = {
  importModule: async (specifier: string) =>
    Object.hasOwn(modules, specifier) ? { default: modules[specifier] } : undefined,
};

/** Of a guest that has been started by plug-in `host`. */
function running(name = 'host'): PluginRegistry {
  const registry = new PluginRegistry();
  registry.load(plugin(name), { where: `@polyvisor/plugin-${name}` });
  registry.calls.vcpuCreate({ rip: 0n } as Vcpu);
  const image = { name: 'kernel', description: 'a guest', format: 'unknown', file: new Uint8Array() } as const;
  const entry = { name: 'front', abi: 'Some', address: 1n, foundIn: 'a test', plugin: name, priority: 1 };
  registry.calls.boot({ image, entry } as unknown as BootRequest, {} as Machine);
  return registry;
}

let vm: FakeVm;
let server: ControlServer;
let client: RawClient;
let count = 0;

beforeEach(async () => {
  vm = new FakeVm(importer);
  server = new ControlServer(controlMethods(vm));
  const socketPath = path.join(directory, `${count++}`);
  server.net.listen(socketPath);
  await once(server.net, 'listening');
  client = await RawClient.connect(socketPath);
});
afterEach(async () => {
  client.socket.destroy();
  await server.close();
});

const load = (text: string) => client.call('plugin.load', { plugin: text });
const unload = (name: string) => client.call('plugin.unload', { name });
const host = {
  ...{ name: 'host', version: '1.0.0', where: '@polyvisor/plugin-host', claims: [] },
  inUse: ['its door front (Some)'],
};
const counts = { name: 'counts', version: '1.0.0', where: './counts.ts', claims: ['ident 0x5'], inUse: [] };

describe('the plug-ins of a running VM', () => {
  it('are none before it has been started', async () => {
    const refused = { error: { code: RpcCode.REFUSED, data: { code: 'PV3013', fix: 'try again' } } };
    expect(await client.call('plugin.list')).toMatchObject(refused);
    expect(await load('./counts.ts')).toMatchObject(refused);
    expect(await unload('host')).toMatchObject(refused);
  });

  it('are none between the end of a guest and the next start', async () => {
    const registry = running();
    vm.plugins.started(registry);
    registry.calls.shutdown({ kind: 'reboot' });
    const refused = { error: { message: 'the guest has ended', data: { code: 'PV3013' } } };
    for (const answer of [await client.call('plugin.list'), await load('./counts.ts'), await unload('host')]) {
      expect(answer).toMatchObject(refused);
    }
    expect(vm.plugins.names).toEqual(['host']);
    vm.plugins.started(running());
    expect(await client.call('plugin.list')).toMatchObject({ result: [host] });
  });

  it('come and go', async () => {
    const registry = running();
    vm.plugins.started(registry);
    expect(await client.call('plugin.list')).toMatchObject({ result: [host] });
    expect(await load('./counts.ts=to:x')).toMatchObject({ result: counts });
    expect(await client.call('plugin.list')).toMatchObject({ result: [host, counts] });
    expect(registry.plugins.map(({ name }) => name)).toEqual(['host', 'counts']);
    expect(await unload('counts')).toMatchObject({ result: counts });
    expect(await client.call('plugin.list')).toMatchObject({ result: [host] });
    expect(registry.claims).toEqual([]);
  });

  it('stay if the guest runs on them: refused by name', async () => {
    vm.plugins.started(running());
    expect(await unload('host')).toMatchObject({
      error: {
        code: RpcCode.REFUSED,
        message: 'plug-in host is in use by guest kernel: its door front (Some)',
        data: { code: 'PV1019', fix: 'end the guest, and start it without the plug-in' },
      },
    });
    expect(vm.plugins.names).toEqual(['host']);
  });

  it('stay if another needs them', async () => {
    vm.plugins.started(running());
    expect(await load('./needs.ts')).toMatchObject({ error: { data: { code: 'PV1005' } } });
    await load('./counts.ts');
    await load('./needs.ts');
    const message = 'plug-in counts is in use by guest kernel: plug-in needs, which requires it';
    expect(await unload('counts')).toMatchObject({ error: { message, data: { fix: 'unload first what uses it' } } });
    await unload('needs');
    expect(await unload('counts')).toMatchObject({ result: counts });
  });

  it('stay as long as their ops are in the kernel', async () => {
    const ops = [{ name: 'counts-ops' }, { name: 'host-ops' }];
    const plugins = new VmPlugins(async () => ops, importer);
    plugins.started(running());
    await plugins.load('./counts.ts');
    expect((await plugins.list()).map(({ inUse }) => inUse)).toEqual([
      ['its door front (Some)', 'ops module host-ops'],
      ['ops module counts-ops'],
    ]);
    await expect(plugins.unload('counts')).rejects.toMatchObject({
      code: 'PV1019',
      message: 'plug-in counts is in use by guest kernel: ops module counts-ops',
    });
    ops.splice(0);
    expect(await plugins.unload('counts')).toMatchObject({ name: 'counts' });
  });

  it('are listed though one cannot say what is in use', async () => {
    vm.plugins.started(running());
    await load('./mute.ts');
    expect(await client.call('plugin.list')).toMatchObject({
      result: [host, { name: 'mute', inUse: [expect.stringMatching(/^plug-in mute in hook inUse.*: no idea$/)] }],
    });
    expect(await unload('mute')).toMatchObject({ error: { data: { code: 'PV1014' } } });
  });

  it('are those of the machine that runs when they have been read', async () => {
    let imported: (module: unknown) => void = () => {};
    const slow = { importModule: () => new Promise<unknown>((resolve) => (imported = resolve)) };
    const plugins = new VmPlugins(async () => [], slow);
    const [before, after] = [running(), running()];
    plugins.started(before);
    const loading = plugins.load('./counts.ts');
    plugins.started(after);
    imported({ default: modules['./counts.ts'] });
    expect(await loading).toEqual(counts);
    expect([before.plugins.length, after.plugins.length]).toEqual([1, 2]);
  });
});

describe('a request about them is refused with a code, and changes nothing', () => {
  it.each([
    ['./nosuch.ts', 'PV1001'],
    ['./none.ts', 'PV1003'],
    ['./rival.ts=depth:1', 'PV1008'],
    ['./counts.ts=:to', 'PV1016'],
    ['=', 'PV1016'],
    ['./rival.ts', 'PV1009'],
    ['./counts.ts', 'PV1011'],
    ['./thrower.ts', 'PV1012'],
    ['./late.ts', 'PV1013'],
    ['./shown.ts', 'PV1014'],
    ['./moon.ts', 'MOON1'],
  ])('load %s', async (text, code) => {
    const registry = running();
    vm.plugins.started(registry);
    await load('./counts.ts');
    expect(await load(text)).toMatchObject({ error: { code: RpcCode.REFUSED, data: { code } } });
    expect(registry.plugins.map(({ name }) => name)).toEqual(['host', 'counts']);
  });

  it.each([
    ['plugin.list', { all: true }],
    ['plugin.load', {}],
    ['plugin.load', { plugin: '' }],
    ['plugin.load', { plugin: 'x'.repeat(4097) }],
    ['plugin.load', { plugin: ['./counts.ts'] }],
    ['plugin.load', { plugin: './counts.ts', force: true }],
    ['plugin.unload', { name: 1 }],
    ['plugin.unload', { name: 'x'.repeat(65) }],
    ['plugin.unload', { name: 'host', others: [] }],
  ])('%s %j', async (method, params) => {
    vm.plugins.started(running());
    expect(await client.call(method, params)).toMatchObject({ error: { code: RpcCode.INVALID_PARAMS } });
    expect(vm.plugins.names).toEqual(['host']);
  });

  it.each(['nobody', '__proto__', 'Host'])('unload %s', async (name) => {
    vm.plugins.started(running());
    expect(await unload(name)).toMatchObject({
      error: { message: `no plug-in ${name} is loaded`, data: { code: 'PV1020', fix: 'loaded: host' } },
    });
  });
});
