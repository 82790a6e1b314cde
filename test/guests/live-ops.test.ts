/** Operations in a running stock kernel: `vm ops load`, version after version, under load, and back. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testsOf } from './catalogue-guest.ts';
import { reachShell, runCommand, startNativeDebian } from './debian-shell.ts';
import type { GuestSession } from './guest-session.ts';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const example = fileURLToPath(new URL('../../docs/examples/count-cr3.ts', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-live-ops-'));
const SWAPS = 5;
const COMMAND_TIMEOUT_MS = 120_000;

const { title, skipped } = await testsOf('debian', "operations in Debian's running kernel");

interface CommandEnd {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command to the VM, while the guest runs. */
function command(...args: string[]): Promise<CommandEnd> {
  const child: ChildProcess = spawn(process.execPath, [vm, 'ops', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      texts[name] += text;
    });
  }
  const timer = setTimeout(() => child.kill('SIGKILL'), COMMAND_TIMEOUT_MS);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      clearTimeout(timer);
      resolve({ status, ...texts });
    });
  });
}

async function json<T>(...args: string[]): Promise<T> {
  const { status, stdout, stderr } = await command(...args, '--json');
  expect([status, stderr]).toEqual([0, '']);
  return JSON.parse(stdout) as T;
}

interface Change {
  readonly sites: number;
  readonly textIsAsBefore?: boolean;
}
interface Report {
  readonly sites: number;
  readonly leftOut: number;
  readonly strays: number;
  readonly slots: {
    readonly name: string;
    readonly state: string;
    readonly module?: string;
    readonly targetName?: string;
    readonly calls?: number;
  }[];
}

/** A module that answers for all slots that are called often, at version `version`. */
function moduleFile(version: string, ops: string): string {
  const file = path.join(directory, `probe-${version}.mts`);
  const text = `export default { name: 'probe', version: '${version}', api: '^1.2', guest: 'linux', ops: ${ops} };\n`;
  writeFileSync(file, text);
  return file;
}

describe.skipIf(skipped)(title, () => {
  const name = `live-ops-${process.pid}`;
  let session: GuestSession;
  beforeAll(async () => {
    session = startNativeDebian('--no-reboot', '--name', name, '--exits', 'all');
    await reachShell(session);
  });
  afterAll(async () => {
    await session?.stop();
    rmSync(directory, { recursive: true });
  });
  const load = async () => {
    const { output, status } = await runCommand(
      session,
      'for i in 1 2 3 4 5 6 7 8; do /bin/busybox true; done; echo ok',
    );
    expect([output, status]).toEqual(['ok\n', 0]);
  };

  /** Exits that something makes, by kind. */
  const exitsOf = async (action: () => Promise<void>): Promise<Record<string, number>> => {
    const counts = async () => {
      const { stdout } = await promisify(execFile)(process.execPath, [vm, 'stats', name, '--json']);
      return JSON.parse(stdout).machine as Record<string, number>;
    };
    const before = await counts();
    await action();
    const after = Object.entries(await counts()).filter(([kind]) => kind.startsWith('exit.'));
    return Object.fromEntries(
      after.map(([kind, count]) => [kind.slice('exit.'.length), count - (before[kind] ?? 0)] as const),
    );
  };

  it('are reported: what each slot has, and how often it is called', async () => {
    const before = await json<Report>('report', '--vm', name, '--counts');
    expect(before.slots).toHaveLength(84);
    expect(before.sites + before.leftOut).toBeGreaterThan(3800);
    await load();
    const { slots, strays } = await json<Report>('report', '--vm', name, '--counts');
    const slot = (wanted: string) => slots.find((each) => each.name === wanted);
    expect(strays).toBe(0);
    expect(slot('mmu.write_cr3')).toMatchObject({ state: 'native', targetName: 'native_write_cr3' });
    expect(slot('mmu.exit_mmap')?.calls).toBeGreaterThanOrEqual(8);
    expect(slot('irq.irq_disable')?.calls).toBeGreaterThan(1000);
    expect(slot('cpu.write_ldt_entry')?.calls).toBe(0);
    await json('report', '--vm', name, '--no-counts');
  });

  it('the module of the documentation counts writes of CR3', async () => {
    const { sites } = await json<Change>('load', name, example);
    expect(sites).toBeGreaterThan(0);
    const { slots } = await json<Report>('report', '--vm', name);
    expect(slots.find((each) => each.name === 'mmu.write_cr3')).toMatchObject({ state: 'own', module: 'count-cr3' });
    await load();
    expect(await json<Change>('unload', name, 'count-cr3')).toMatchObject({ sites, textIsAsBefore: true });
  });

  it('go from one version to the next and back under load, and leave the code as it was', async () => {
    const one = moduleFile('1.0.0', `{ 'mmu.write_cr3': () => 'previous', 'mmu.read_cr2': () => 'native' }`);
    const two = moduleFile(
      '1.1.0',
      `{ 'mmu.write_cr3': () => 'native', 'irq.save_fl': () => ({ previous: (flags) => flags }),
         'mmu.read_cr2': ({ vcpu }) => vcpu.cr2, 'mmu.exit_mmap': 'nop' }`,
    );
    session.send('(while [ ! -e /tmp/stop ]; do /bin/busybox true; done) & sleep 0.1; echo started');
    await session.expect('started\n');
    for (let i = 0; i < SWAPS; i++) {
      await json('load', name, one);
      await json('load', name, two);
      await json('load', name, one, '--force');
      await json('unload', name, 'probe');
    }
    session.send('touch /tmp/stop; wait; echo stop"ped"');
    await session.expect('stopped\n');
    const { strays } = await json<Report>('report', '--vm', name);
    expect(strays).toBe(0);
    await json('load', name, two);
    await load();
    expect(await json<Change>('unload', name, 'probe')).toMatchObject({ textIsAsBefore: true });
  });

  it('one that throws is out of its slot, and the guest goes on', async () => {
    const file = moduleFile('1.2.0', `{ 'mmu.dup_mmap': () => { throw new Error('on purpose'); } }`);
    await json('load', name, file);
    await load();
    const [module] = await json<{ failed: string[] }[]>('list', name);
    expect(module.failed).toEqual([expect.stringMatching(/^PV5019: .*probe.*mmu\.dup_mmap.*on purpose$/)]);
    await json('unload', name, 'probe');
  });

  it('those of plug-in xen go in and out again', async () => {
    const without = await exitsOf(load);
    const { sites } = await json<Change>('load', name, 'xen-ops');
    expect(sites).toBeGreaterThan(1000);
    const withOps = await exitsOf(load);
    // What the operations are for: these went out, and a hypercall comes for a few of them.
    expect(without.cli + without.sti).toBeGreaterThan(5000);
    expect(withOps.cli + withOps.sti).toBeLessThan((without.cli + without.sti) / 100);
    expect(withOps).toMatchObject({ readCr: 0, writeCr: 0, invlpg: 0 });
    const kinds = ['cli', 'sti', 'readCr', 'writeCr', 'invlpg', 'hlt', 'hypercall', 'native.pushf'];
    const sum = (counts: Record<string, number>) => kinds.reduce((all, kind) => all + (counts[kind] ?? 0), 0);
    expect(sum(withOps)).toBeLessThan(sum(without) / 5);
    const { slots, strays } = await json<Report>('report', '--vm', name);
    for (const name of ['irq.irq_disable', 'mmu.flush_tlb_user']) {
      expect(slots.find((each) => each.name === name)).toMatchObject({ state: 'own', module: 'xen-ops' });
    }
    expect(strays).toBe(0);
    expect(await json<Change>('unload', name, 'xen-ops')).toMatchObject({ sites, textIsAsBefore: true });
    await load();
  });

  it('refuses slots that do not exist, and a slot that is taken', async () => {
    const none = await command('load', name, moduleFile('2.0.0', `{ 'mmu.nothing': () => 'native' }`));
    expect([none.status, none.stderr]).toEqual([10, expect.stringMatching(/^vm: PV5001: .*mmu\.nothing/)]);
    await json('load', name, example);
    const taken = await command('load', name, moduleFile('2.0.1', `{ 'mmu.write_cr3': () => 'native' }`));
    expect([taken.status, taken.stderr]).toEqual([10, expect.stringMatching(/^vm: PV5024: .*mmu\.write_cr3/)]);
    await json('unload', name, 'count-cr3');
  });

  it('has lost nothing: no complaint of the kernel', () => {
    expect(session.console).not.toMatch(/\bBUG\b|Oops|WARNING:|Call Trace|rcu.*stall|segfault|clocksource.*unstable/);
  });
});
