/** The example of a third-party plug-in, and what plug-in authors do wrong. */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const vm = path.join(root, 'packages/cli/bin/vm.mjs');
const example = path.join(root, 'examples/minimal-plugin/index.ts');
const minimal = path.join(root, 'guests/minimal/prebuilt/minimal.elf');
const hello = path.join(root, 'guests/hello/prebuilt/hello.elf');
const LINE = 'hello from a guest of a plug-in of my own\n';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-plugins-'));
afterAll(() => rmSync(directory, { recursive: true }));

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [vm, 'run', '--clock', 'icount', ...args], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, POLYVISOR_DEBUG: '' },
    timeout: 120_000,
  });
  return { status, stdout, last: stderr.trimEnd().split('\n').pop() ?? '', stderr };
}

/** A plug-in in a file of its own; `body` is its `apply`. */
function plugin(name: string, body: string, api = '^1.0'): string {
  const file = path.join(directory, `${name}.mjs`);
  const source = `{ name: '${name}', version: '1.0.0', api: '${api}', apply(host) { ${body} } }`;
  writeFileSync(file, `export default ${source};\n`);
  return file;
}

describe('examples/minimal-plugin', () => {
  it('is under 100 lines and imports the plug-in API alone', () => {
    const source = readFileSync(example, 'utf8');
    expect(source.trimEnd().split('\n').length).toBeLessThan(100);
    const imported = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1]);
    expect(new Set(imported)).toEqual(new Set(['@polyvisor/plugin-api']));
  });

  it('boots its guest, which prints and powers off', () => {
    const { status, stdout, stderr } = run(minimal, '--plugin', example, '--stats');
    expect(stdout).toBe(LINE);
    expect(stderr).toMatch(
      /^vm: entry minimal: Minimal 64-bit at 0x100000, found in ELF note Minimal\/1 \(PT_NOTE\)$/m,
    );
    expect(stderr).toMatch(new RegExp(`^vm: minimal\\.hypercall\\.putchar +${LINE.length}$`, 'm'));
    expect(status).toBe(0);
  });

  it.each([[['xen', example]], [[example, 'xen']]])('stands beside xen, each with its own guest: %j', (order) => {
    const plugins = order.flatMap((name) => ['--plugin', name]);
    expect(run(minimal, ...plugins)).toMatchObject({ status: 0, stdout: LINE });
    const { status, stderr } = run(hello, ...plugins);
    expect(stderr).toContain('hello from a PV64 guest, by syscall');
    expect(status).toBe(0);
  });

  it('is found by name as a package of the working folder', () => {
    const modules = path.join(directory, 'node_modules');
    const installed = path.join(modules, 'polyvisor-plugin-minimal');
    mkdirSync(path.join(modules, '@polyvisor'), { recursive: true });
    symlinkSync(path.join(root, 'packages/plugin-api'), path.join(modules, '@polyvisor/plugin-api'));
    cpSync(path.dirname(example), installed, { recursive: true });
    const manifest = { name: 'polyvisor-plugin-minimal', version: '1.0.0', type: 'module', exports: './index.ts' };
    writeFileSync(path.join(installed, 'package.json'), JSON.stringify(manifest));
    expect(run(minimal, '--plugin', 'minimal')).toMatchObject({ status: 0, stdout: LINE });
  });

  it('refuses what is not its guest, and a guest that does not fit', () => {
    const other = run(hello, '--plugin', example);
    expect(other.last).toMatch(/^vm: PV2012: .*no ELF64 note of owner "Minimal".*: \S/);
    expect(other.status).toBe(3);
    const small = run(minimal, '--plugin', example, '--memory', '1M');
    expect(small.last).toMatch(/^vm: MIN01: minimal\.elf: a segment does not fit: \S/);
    expect(small.status).toBe(3);
  });
});

describe('a plug-in that is refused or fails: one line', () => {
  let future: string;
  let rival: string;
  let thrower: string;
  beforeAll(() => {
    future = plugin('future', '', '^2.0');
    rival = plugin('rival', "host.claim({ kind: 'hypercall', abi: 'minimal', first: 1, last: 1 });");
    thrower = plugin(
      'thrower',
      "host.hooks.exit.for('hypercall').tap('count to three', () => { throw new Error('that was too far'); });",
    );
  });

  it('made for API 2.0', () => {
    const { status, last, stdout } = run(minimal, '--plugin', example, '--plugin', future);
    expect(last).toMatch(/^vm: PV1004: .*\bfuture\b.*\^2\.0.*1\.\d+\.\d+/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it('that claims what another has: both named', () => {
    const { status, last, stdout } = run(minimal, '--plugin', example, '--plugin', rival);
    expect(last).toMatch(/^vm: PV1009: .*\brival\b.*\bminimal\b.*: leave out \S/);
    expect([status, stdout]).toEqual([2, '']);
  });

  it('the same one twice', () => {
    const { status, last } = run(minimal, '--plugin', example, '--plugin', example);
    expect(last).toMatch(/^vm: PV1011: .*\bminimal\b/);
    expect(status).toBe(2);
  });

  it('throwing in a hook: plug-in, hook, guest RIP, exit code 70', () => {
    const { status, last, stdout, stderr } = run(minimal, '--plugin', thrower, '--plugin', example);
    expect(last).toMatch(
      /^vm: PV1014: plug-in thrower in hook exit\.hypercall \(tap count to three\) at guest RIP 0x1000[\da-f]{2}: that was too far: \S/,
    );
    expect(stderr).not.toMatch(/^\s+at /m);
    expect([status, stdout]).toEqual([70, '']);
  });

  it('answering nonsense in a hook', () => {
    const vague = plugin('vague', "host.hooks.exit.for('hypercall').tap('vague', () => 'perhaps');");
    const { status, last } = run(minimal, '--plugin', vague, '--plugin', example);
    expect(last).toMatch(/^vm: PV1015: plug-in vague in hook exit\.hypercall at guest RIP 0x1000/);
    expect(status).toBe(70);
  });
});
