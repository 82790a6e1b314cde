import { spawnSync } from 'node:child_process';
import { readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const vm = fileURLToPath(new URL('../bin/vm.mjs', import.meta.url));
const compiled = new URL('../bin/compiled.mjs', import.meta.url).href;
const plugin = fileURLToPath(new URL('../../../examples/minimal-plugin/index.ts', import.meta.url));
const image = fileURLToPath(new URL('../../../guests/minimal/prebuilt/minimal.elf', import.meta.url));

function node(args: readonly string[], environment: Record<string, string> = {}) {
  return spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...environment } });
}
const folderOf = (environment?: Record<string, string>) =>
  node(
    ['--input-type=module', '-e', `console.log(await (await import('${compiled}')).compiledFolder())`],
    environment,
  ).stdout.trim();

describe('the start of vm', () => {
  it('compiles the sources once for each state of them', () => {
    const first = folderOf();
    expect(first).toMatch(/cli\/\.build\/[0-9a-f]{16}$/);
    expect(readdirSync(first)).toContain('program.cjs');
    expect(folderOf()).toBe(first);
    expect(folderOf({ POLYVISOR_SOURCES: '1' })).toBe('undefined');
  }, 60_000);

  it('keeps the code of a command that has done its work, and makes damaged code anew', () => {
    const folder = folderOf();
    const codeFiles = () => readdirSync(folder).filter((name) => /^entries-[0-9a-f]+\.code$/.test(name));
    const list = () => node([vm, 'entries', image]);
    const first = list();
    expect(codeFiles()).toHaveLength(1);
    const [name] = codeFiles();
    const file = path.join(folder, name);
    const kept = statSync(file);
    expect(list()).toMatchObject({ stdout: first.stdout, stderr: '', status: 0 });
    expect(statSync(file).mtimeMs).toBe(kept.mtimeMs);
    writeFileSync(file, 'damaged');
    expect(list()).toMatchObject({ stdout: first.stdout, stderr: '', status: 0 });
    expect(statSync(file).size).toBeGreaterThan(kept.size / 2);
  }, 60_000);

  it.each([
    ['compiled', {}],
    ['as they are', { POLYVISOR_SOURCES: '1' }],
  ])(
    'runs the sources %s, with a plug-in in TypeScript that shares their modules',
    (_name, environment) => {
      const listed = node([vm, 'entries', image, '--plugin', plugin], environment);
      expect(listed.stdout).toMatch(/minimal +open/);
      const refused = node([vm, 'run', vm, '--plugin', plugin], environment);
      expect([refused.status, refused.stderr.split('\n').length]).toEqual([3, 2]);
      expect(refused.stderr).toMatch(/^vm: PV\d{4}: /);
    },
    60_000,
  );
});
