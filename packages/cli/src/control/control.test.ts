/** `vm run` and the commands to it, together; the machine is scripted. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { MachineOptions, RunEnd } from '@polyvisor/core';
import type { ShutdownReason } from '@polyvisor/plugin-api';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ControlRequest, CreateMachine, PluginRequest, RunOptions } from '../options.ts';
import { pluginCommand } from '../plugins/commands.ts';
import { run } from '../run.ts';
import { control } from './commands.ts';
import { controlDirectory } from './directory.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-control-'));
afterAll(() => rmSync(directory, { recursive: true }));
const image = path.join(directory, 'image');
const header = Buffer.alloc(64);
header.writeUInt32LE(0x1badb002, 0);
header.writeInt32LE(-0x1badb002, 8);
writeFileSync(image, header);

beforeEach(() => vi.stubEnv('XDG_RUNTIME_DIR', directory));
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

/** A machine that runs until it is stopped, or its guest powers off when asked to. */
class ScriptedMachine {
  readonly entry = { name: 'pv', abi: 'Some', address: 0n, foundIn: 'a note', plugin: 'some', priority: 1 };
  readonly options: MachineOptions;
  paused = false;
  obeys = true;
  #end: (end: RunEnd) => void = () => {};
  readonly #ended = new Promise<RunEnd>((resolve) => {
    this.#end = resolve;
  });
  constructor(options: MachineOptions) {
    this.options = options;
  }
  run(): Promise<RunEnd> {
    return this.#ended;
  }
  end(reason: ShutdownReason | { kind: 'stopped' }): void {
    this.#end({ reason });
  }
  stop(): void {
    this.end({ kind: 'stopped' });
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  stats() {
    return { instructions: 1234 };
  }
  requestPoweroff(): boolean {
    if (this.obeys) this.end({ kind: 'poweroff' });
    return true;
  }
}

interface Started {
  readonly machine: ScriptedMachine;
  readonly exitCode: Promise<number>;
}

async function start(name: string, changes: Partial<RunOptions> = {}): Promise<Started> {
  const options: RunOptions = {
    ...{ image, plugins: [], entryName: undefined, append: undefined, initrdPath: undefined, memoryBytes: 2 ** 24 },
    vcpus: 1,
    ...{ console: { kind: 'none' }, trace: undefined, timeoutSeconds: undefined, expect: undefined, stats: false },
    ...{ reboot: true, clock: 'icount', control: true, name, tier: { kind: 'interpret' }, exits: 'asked' },
    ...{ compileThread: 'off', codeCache: false },
    ...{
      profilePath: undefined,
      functionsPath: undefined,
      disks: [],
      net: { kind: 'none' },
      shares: [],
      bootModules: [],
      chips: [],
      modules: [],
      moduleDirectory: undefined,
    },
    ...changes,
  };
  return await new Promise<Started>((resolve, reject) => {
    const create: CreateMachine = async (machineOptions) => {
      const machine = new ScriptedMachine(machineOptions);
      setImmediate(() => resolve({ machine, exitCode }));
      return machine;
    };
    const exitCode = run(options, create);
    exitCode.catch(reject);
  });
}

const command = (request: ControlRequest) => said(() => control(request));
/** What a command says on both streams, and its exit code. */
async function said(act: () => Promise<number>) {
  const out: string[] = [];
  const write = (text: string | Uint8Array) => {
    out.push(Buffer.from(text).toString());
    return true;
  };
  const spies = [vi.spyOn(process.stdout, 'write').mockImplementation(write)];
  spies.push(vi.spyOn(process.stderr, 'write').mockImplementation(write));
  try {
    const exitCode = await act();
    return { exitCode, text: out.join('') };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}
const ps = async () => JSON.parse((await command({ command: 'ps', json: true })).text);
const forced = (vm: string) => command({ command: 'stop', vm, force: true, timeoutSeconds: 30 });

beforeEach(() => {
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});

describe('two VMs', () => {
  it('are listed, paused, resumed and stopped one by one', async () => {
    const [left, right] = [await start('left'), await start('right')];
    expect(await ps()).toMatchObject([
      { name: 'left', pid: process.pid, image: 'image', entry: 'pv', state: 'running', clock: 'icount' },
      { name: 'right', state: 'running' },
    ]);
    expect((await command({ command: 'ps', json: false })).text).toMatch(/^NAME +PID +STATE.*\nleft .*\nright /);
    expect(await command({ command: 'pause', vm: 'right' })).toEqual({ exitCode: 0, text: 'vm: right: paused\n' });
    expect([left.machine.paused, right.machine.paused]).toEqual([false, true]);
    expect((await ps()).map(({ state }: { state: string }) => state)).toEqual(['running', 'paused']);
    expect((await command({ command: 'resume', vm: 'right' })).text).toBe('vm: right: running\n');
    await expect(control({ command: 'pause', vm: undefined })).rejects.toMatchObject({
      code: 'PV3011',
      message: expect.stringContaining('left, right'),
    });
    expect((await forced('left')).text).toBe('vm: left: ended by `vm stop --force`\n');
    expect(await left.exitCode).toBe(143);
    // The only one that is left needs no name.
    const asked = await command({ command: 'stop', vm: undefined, force: false, timeoutSeconds: 30 });
    expect(asked).toEqual({ exitCode: 0, text: 'vm: right: the guest powered off\n' });
    expect(await right.exitCode).toBe(0);
    expect(readdirSync(controlDirectory())).toEqual([]);
  });

  it('cannot have one name', async () => {
    const first = await start('one');
    await expect(start('one')).rejects.toMatchObject({ code: 'PV3012', exitCode: 10 });
    first.machine.end({ kind: 'poweroff' });
    expect(await first.exitCode).toBe(0);
  });
});

describe('one VM', () => {
  it('is known by its pid, and prints its counters', async () => {
    const { machine, exitCode } = await start('one');
    const { text } = await command({ command: 'stats', vm: `${process.pid}`, json: true, watchSeconds: undefined });
    expect(JSON.parse(text)).toMatchObject({ machine: { instructions: 1234 }, plugins: [] });
    machine.end({ kind: 'poweroff' });
    await exitCode;
  });

  it('that does not power off in time is said to run still', async () => {
    const { machine, exitCode } = await start('one');
    machine.obeys = false;
    const asked = control({ command: 'stop', vm: 'one', force: false, timeoutSeconds: 0.01 });
    await expect(asked).rejects.toMatchObject({ code: 'PV3014', message: expect.stringContaining('still runs') });
    await forced('one');
    await exitCode;
  });

  it('keeps its socket through a reboot', async () => {
    const { machine, exitCode } = await start('one');
    machine.end({ kind: 'reboot' });
    await vi.waitFor(async () => expect(await ps()).toMatchObject([{ name: 'one', state: 'running' }]));
    await forced('one');
    expect(await exitCode).toBe(143);
  });

  it('is not there under --no-control, nor under another name', async () => {
    const { machine, exitCode } = await start('one', { control: false });
    expect(await ps()).toEqual([]);
    await expect(control({ command: 'pause', vm: 'one' })).rejects.toMatchObject({ code: 'PV3011', exitCode: 10 });
    machine.end({ kind: 'poweroff' });
    await exitCode;
  });

  it('does without a socket where there can be none, unless it was given a name', async () => {
    vi.stubEnv('XDG_RUNTIME_DIR', path.join(directory, 'nosuch'));
    await expect(start('one')).rejects.toMatchObject({ code: 'PV3010' });
    const { machine, exitCode } = await start('', { name: undefined });
    machine.end({ kind: 'poweroff' });
    expect(await exitCode).toBe(0);
  });
});

describe('vm plugin', () => {
  const plugin = (request: Pick<PluginRequest, 'vm' | 'json'> & Record<string, unknown>) =>
    said(() => pluginCommand(request as PluginRequest));
  const one = { vm: 'one', json: false };
  const file = path.join(directory, 'counts.mjs');
  writeFileSync(
    file,
    `export default { name: 'counts', version: '1.2.3', api: '^1.7', apply: (host) => host.claim({ kind: 'ident', ident: 5 }) };`,
  );

  it('lists, loads and unloads', async () => {
    const { machine, exitCode } = await start('one');
    expect(await plugin({ ...one, command: 'list' })).toEqual({ exitCode: 0, text: 'no plug-ins\n' });
    // The VM may work in another folder than the command.
    const relative = `./${path.relative(process.cwd(), file)}`;
    const { text } = await plugin({ ...one, command: 'load', plugin: relative });
    expect(text).toBe(`counts 1.2.3 loaded from ${file}\n`);
    expect(await ps()).toMatchObject([{ name: 'one', plugins: ['counts'] }]);
    const list = await plugin({ ...one, command: 'list' });
    expect(list.text).toMatch(/^NAME +VERSION +FROM +IN USE\ncounts +1\.2\.3 +\S+ +no\ncounts claims ident 0x5\n$/);
    const json = await plugin({ ...one, json: true, command: 'list' });
    expect(JSON.parse(json.text)).toEqual([
      { name: 'counts', version: '1.2.3', where: file, claims: ['ident 0x5'], inUse: [] },
    ]);
    expect((await plugin({ ...one, command: 'unload', name: 'counts' })).text).toBe('counts 1.2.3 unloaded\n');
    await expect(plugin({ ...one, command: 'unload', name: 'counts' })).rejects.toMatchObject({
      ...{ code: 'PV1020', message: 'one: no plug-in counts is loaded', exitCode: 10 },
    });
    await expect(plugin({ ...one, command: 'load', plugin: 'counts=' })).rejects.toMatchObject({ code: 'PV1016' });
    machine.end({ kind: 'poweroff' });
    await exitCode;
  });

  it('begins anew with the command line when the guest reboots', async () => {
    const { machine, exitCode } = await start('one');
    await plugin({ ...one, command: 'load', plugin: file });
    machine.end({ kind: 'reboot' });
    await vi.waitFor(async () => expect(await ps()).toMatchObject([{ name: 'one', plugins: [] }]));
    await forced('one');
    await exitCode;
  });
});

it('attach shows the console, and ends as the VM does', async () => {
  const { machine, exitCode } = await start('one');
  machine.options.console.write(Buffer.from('hello '));
  const shown: string[] = [];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => shown.push(Buffer.from(text).toString()) > 0);
  const attached = control({ command: 'attach', vm: 'one' });
  await vi.waitFor(() => expect(shown).toEqual(['hello ']), { timeout: 30_000 });
  machine.options.console.write(Buffer.from('world'));
  machine.end({ kind: 'crash', message: 'oops' });
  expect([await attached, await exitCode]).toEqual([4, 4]);
  expect(shown).toEqual(['hello ', 'world']);
});
