import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const vm = fileURLToPath(new URL('../bin/vm.mjs', import.meta.url));
const compiled = new URL('../bin/compiled.mjs', import.meta.url).href;
const plugin = fileURLToPath(new URL('../../../examples/minimal-plugin/index.ts', import.meta.url));
const image = fileURLToPath(new URL('../../../guests/minimal/prebuilt/minimal.elf', import.meta.url));

function node(args: readonly string[], environment: Record<string, string> = {}) {
  return spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, ...environment } });
}
const entriesOf = (environment?: Record<string, string>) =>
  node(
    ['--input-type=module', '-e', `console.log(await (await import('${compiled}')).compiledEntries())`],
    environment,
  );

describe('the start of vm', () => {
  it('compiles the sources once for each state of them', () => {
    const first = entriesOf();
    expect(first.stdout).toContain('core/src/index.ts');
    expect(first.stdout).toMatch(/cli\/\.build\/[0-9a-f]{16}\/core\.js/);
    expect(entriesOf().stdout).toBe(first.stdout);
    expect(entriesOf({ POLYVISOR_SOURCES: '1' }).stdout).toBe('undefined\n');
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
