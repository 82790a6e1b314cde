/** Running VMs from outside: two processes, their sockets, and what is left when one is killed. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';

const vm = fileURLToPath(new URL('../../packages/cli/bin/vm.mjs', import.meta.url));
const runtime = mkdtempSync(path.join(tmpdir(), 'polyvisor-vms-'));
const sockets = path.join(runtime, 'polyvisor');
const env = { ...process.env, XDG_RUNTIME_DIR: runtime, POLYVISOR_DEBUG: '' };
const running: ChildProcess[] = [];

afterEach(() => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rmSync(runtime, { recursive: true }));

/** `vm run` of the demo guest without a console, once it runs; its exit code when it ends. */
async function start(name: string, ...args: string[]): Promise<{ child: ChildProcess; exitCode: Promise<unknown> }> {
  const flags = ['--console', 'none', '--timeout', '300', '--name', name, ...args];
  const child = spawn(process.execPath, [vm, 'run', 'demo', ...flags], { stdio: ['ignore', 'ignore', 'pipe'], env });
  running.push(child);
  const exitCode = once(child, 'close').then(([code]) => code);
  // The last thing that is said before the guest runs.
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stderr?.on('data', (chunk) => {
      said += chunk;
      if (said.includes('vm: entry ')) resolve();
    });
    void exitCode.then(() => reject(new Error(`vm run ended: ${said}`)));
  });
  return { child, exitCode };
}

function command(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [vm, ...args], {
    encoding: 'utf8',
    env,
    timeout: 120_000,
  });
  return { status, stdout, stderr };
}
const ps = (): { name: string; state: string; pid: number }[] => JSON.parse(command('ps', '--json').stdout);
const instructions = (name: string): number => JSON.parse(command('stats', name, '--json').stdout).machine.instructions;

describe('two VMs', () => {
  it('are seen, and steered one by one', async () => {
    const [one, two] = [await start('one'), await start('two')];
    expect(ps()).toMatchObject([
      { name: 'one', state: 'running', pid: one.child.pid },
      { name: 'two', state: 'running', pid: two.child.pid },
    ]);
    expect(statSync(sockets).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(sockets, 'one.sock')).mode & 0o777).toBe(0o600);
    expect(command('pause', 'one')).toEqual({ status: 0, stdout: '', stderr: 'vm: one: paused\n' });
    expect(instructions('one')).toBe(instructions('one'));
    expect(ps().map(({ state }) => state)).toEqual(['paused', 'running']);
    expect(command('stop', 'one').stderr).toMatch(/^vm: PV3013: one: the guest is paused: \S.*\n$/);
    expect(command('resume', `${one.child.pid}`).status).toBe(0);
    expect(command('stop', 'one', '--force')).toEqual({
      ...{ status: 0, stdout: '' },
      stderr: 'vm: one: ended by `vm stop --force`\n',
    });
    expect(await one.exitCode).toBe(143);
    expect(ps().map(({ name }) => name)).toEqual(['two']);
  });

  it('cannot have one name, and a killed one gives it back', async () => {
    const first = await start('same');
    const second = command('run', 'demo', '--console', 'none', '--name', 'same');
    expect(second.status).toBe(10);
    expect(second.stderr).toMatch(/vm: PV3012: a VM named same is running: \S.*\n$/);
    first.child.kill('SIGKILL');
    await first.exitCode;
    expect(readdirSync(sockets)).toEqual(expect.arrayContaining(['same.json', 'same.sock']));
    expect(ps()).toEqual([]);
    expect(readdirSync(sockets)).toEqual([]);
  });
});

it('a VM that is not there', () => {
  const { status, stderr } = command('pause', 'nobody');
  expect(status).toBe(10);
  expect(stderr).toMatch(/^vm: PV3011: no VM nobody; none is running: \S.*\n$/);
});
