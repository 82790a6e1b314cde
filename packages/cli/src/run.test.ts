import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { MachineOptions, RunEnd } from '@polyvisor/core';
import type { Entry, ShutdownReason } from '@polyvisor/plugin-api';
import { afterAll, afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from 'vitest';
import type { CreateMachine, RunOptions } from './options.ts';
import { run } from './run.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-run-'));
afterAll(() => rmSync(directory, { recursive: true }));

const imageFile = path.join(directory, 'image');
// The smallest file that is taken for a kernel: a multiboot header.
const header = Buffer.alloc(64);
header.writeUInt32LE(0x1badb002, 0);
header.writeInt32LE(-0x1badb002, 8);
writeFileSync(imageFile, header);
const consoleFile = path.join(directory, 'console');

function options(changes: Partial<RunOptions> = {}): RunOptions {
  return {
    image: imageFile,
    plugins: [],
    entryName: undefined,
    append: 'quiet',
    initrdPath: undefined,
    bootModules: [],
    chips: [],
    modules: [],
    moduleDirectory: undefined,
    memoryBytes: 2 ** 24,
    vcpus: 1,
    console: { kind: 'file', path: consoleFile },
    trace: undefined,
    timeoutSeconds: undefined,
    expect: undefined,
    stats: false,
    profilePath: undefined,
    functionsPath: undefined,
    reboot: true,
    clock: 'icount',
    control: false,
    name: undefined,
    tier: { kind: 'interpret' },
    compileThread: 'off',
    codeCache: false,
    exits: 'asked',
    disks: [],
    net: { kind: 'none' },
    shares: [],
    ...changes,
  };
}

const entry: Entry = { name: 'pv', abi: 'Some ABI', address: 0x1000n, foundIn: 'a note', plugin: 'some', priority: 1 };

type Script = (machine: MachineOptions, stopped: Promise<void>) => Promise<RunEnd>;

/** Machines that follow scripts, one after the other. */
function scripted(...scripts: Script[]): { create: CreateMachine; created: MachineOptions[] } {
  const created: MachineOptions[] = [];
  const create: CreateMachine = async (machine) => {
    const script = scripts[created.length];
    created.push(machine);
    let stop: () => void = () => {};
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    return {
      entry,
      run: () => script(machine, stopped),
      stop,
      stats: () => ({ instructions: 5_000_000 }),
      paused: false,
      pause() {},
      resume() {},
      requestPoweroff: () => false,
    };
  };
  return { create, created };
}

const endsWith =
  (reason: ShutdownReason, report?: string): Script =>
  async () => ({ reason, ...(report !== undefined && { report }) });

let stderr: MockInstance;
const said = () => stderr.mock.calls.map(([text]) => String(text)).join('');
beforeEach(() => {
  stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
});
afterEach(() => stderr.mockRestore());

it('--exits privileged and all reach the machine, and nothing does without', async () => {
  const ends = Array.from({ length: 3 }, () => endsWith({ kind: 'poweroff' }));
  const { create, created } = scripted(...ends);
  await run(options({ exits: 'privileged' }), create);
  await run(options({ exits: 'all' }), create);
  await run(options(), create);
  expect(created.map(({ exits }) => exits)).toEqual(['privileged', 'all', undefined]);
});

describe('the exit code', () => {
  it.each<[ShutdownReason, number]>([
    [{ kind: 'poweroff' }, 0],
    [{ kind: 'crash', message: 'panic' }, 4],
    [{ kind: 'watchdog' }, 4],
    [{ kind: 'suspend' }, 9],
    [{ kind: 'softReset' }, 9],
  ])('of %o is %i', async (reason, exitCode) => {
    expect(await run(options(), scripted(endsWith(reason)).create)).toBe(exitCode);
  });

  it('of a reboot is 7 under --no-reboot; otherwise a fresh machine is made of the same things', async () => {
    const reboot = endsWith({ kind: 'reboot' });
    expect(await run(options({ reboot: false }), scripted(reboot).create)).toBe(7);
    const { create, created } = scripted(reboot, reboot, endsWith({ kind: 'poweroff' }));
    expect(await run(options(), create)).toBe(0);
    expect(created).toHaveLength(3);
    expect(created[2].commandLine).toBe('quiet');
    expect(created[2].plugins).not.toBe(created[1].plugins);
  });

  it('is 5 when the time is up', async () => {
    const script: Script = async (_machine, stopped) => {
      await stopped;
      return { reason: { kind: 'stopped' } };
    };
    expect(await run(options({ timeoutSeconds: 0.01 }), scripted(script).create)).toBe(5);
    expect(said()).toContain('vm: the guest was ended after --timeout 0.01\n');
  });
});

describe('--expect', () => {
  const says: Script = async ({ console }, stopped) => {
    for (const part of ['~', ' ', '#', ' too late']) console.write(Buffer.from(part));
    await Promise.race([stopped, new Promise((resolve) => setImmediate(resolve))]);
    return { reason: { kind: 'poweroff' } };
  };

  it('ends with 0 as soon as the text is there, and shows nothing after it', async () => {
    expect(await run(options({ expect: '~ #' }), scripted(says).create)).toBe(0);
    expect(readFileSync(consoleFile, 'utf8')).toBe('~ #');
  });

  it('ends with 6 when the guest ends first', async () => {
    expect(await run(options({ expect: 'absent' }), scripted(says).create)).toBe(6);
    expect(said()).toContain('the guest powered off before the expected text appeared');
  });
});

it('a crash is told in a few lines, none of them ours', async () => {
  const crash = endsWith({ kind: 'crash', message: 'Oops' }, 'guest crashed: Oops\n  rip 1000 (start+0x4)\n');
  await run(options(), scripted(crash).create);
  expect(said().trimEnd().split('\n')).toEqual([
    'vm: image: multiboot image (header at 0x0)',
    'vm: entry pv: Some ABI at 0x1000, found in a note',
    'vm: guest crashed: Oops',
    'vm:   rip 1000 (start+0x4)',
  ]);
});

describe('--profile', () => {
  const sampled: Script = async ({ onSample }) => {
    onSample?.({ vcpu: 0, instructions: 1_500_000, cpl: 3, cr3: 0x5000n, rip: 0x401000n, callers: [] });
    return { reason: { kind: 'poweroff' } };
  };

  it('writes what was sampled, and shows it', async () => {
    const profilePath = path.join(directory, 'profile.folded');
    expect(await run(options({ profilePath }), scripted(sampled).create)).toBe(0);
    expect(readFileSync(profilePath, 'utf8')).toBe('[user];[cr3_0x5000] 1500000\n');
    expect(said()).toContain('vm: profile: 1 samples of 1.5 million instructions, 1 symbols, in ');
    expect(said()).toMatch(/^vm: 100\.0% {2}100\.0% {2}\[user\]$/m);
  });

  it('a file that cannot be written is refused before there is a machine', async () => {
    const { create, created } = scripted(sampled);
    await expect(run(options({ profilePath: directory }), create)).rejects.toMatchObject({
      code: 'PV3002',
      exitCode: 2,
    });
    expect(created).toEqual([]);
  });

  it('without it no samples are taken', async () => {
    const { create, created } = scripted(sampled);
    await run(options(), create);
    expect(created[0].onSample).toBeUndefined();
  });
});

it('--stats shows counters and speed', async () => {
  await run(options({ stats: true }), scripted(endsWith({ kind: 'poweroff' })).create);
  expect(said()).toMatch(/vm: seconds +\d+\.\d{3}\nvm: instructions +5000000\nvm: MIPS +\d+\.\d\n/);
});
