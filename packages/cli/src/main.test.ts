import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';

const vm = fileURLToPath(new URL('../bin/vm.mjs', import.meta.url));
const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-vm-'));
afterAll(() => rmSync(directory, { recursive: true }));

const text = path.join(directory, 'notes.txt');
writeFileSync(text, 'no kernel\n');
const truncated = path.join(directory, 'truncated.elf');
writeFileSync(truncated, Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]));
const named = path.join(directory, 'named');
writeFileSync(named, 'pvops-module mine\n');
const demo = fileURLToPath(new URL('../../../guests/demo/prebuilt/demo.elf', import.meta.url));
const future = path.join(directory, 'future.mjs');
writeFileSync(future, "export default { name: 'future', version: '1.0.0', api: '^2.0', apply() {} };\n");
// In a folder without a package.json.
const typed = path.join(directory, 'typed.ts');
writeFileSync(
  typed,
  "const api: string = '^3.0';\nexport default { name: 'typed', version: '1.0.0', api, apply() {} };\n",
);

function runVm(...args: string[]) {
  const cache = path.join(directory, 'cache');
  const { status, stdout, stderr } = spawnSync(process.execPath, [vm, ...args], {
    encoding: 'utf8',
    env: { ...process.env, XDG_CACHE_HOME: cache, POLYVISOR_DEBUG: '' },
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

describe('what cannot be done is refused in one line with its own exit code', () => {
  it.each<[string, number, RegExp, string[]]>([
    ['no command', 2, /PV3001: no command given/, []],
    ['an unknown command', 2, /PV3001: unknown command 'fly'/, ['fly']],
    ['an unknown flag', 2, /PV3001: unknown option '--frob'/, ['run', '--frob']],
    ['a bad size', 2, /PV3001: --memory lots/, ['run', '--memory', 'lots']],
    ['an unknown plug-in', 2, /PV1001: no plug-in "nosuch"/, ['run', '--plugin', 'nosuch']],
    ['a plug-in for API 2.0', 2, /PV1004: .*\^2\.0/, ['run', '--plugin', future]],
    ['a plug-in in TypeScript for API 3.0', 2, /PV1004: .*\^3\.0/, ['run', '--plugin', typed]],
    ['a missing image', 3, /PV3002: cannot read the image .*no such file/, ['run', '--plugin', 'none', './nosuch']],
    ['an unknown name', 3, /PV3002: .*no such name in the catalogue: .*debian/, ['run', '--plugin', 'none', 'nosuch']],
    [
      'a text file',
      3,
      /PV2003: notes\.txt is no kernel image: it looks like a text file/,
      ['run', '--plugin', 'none', text],
    ],
    ['a truncated ELF', 3, /PV2001: truncated\.elf: ELF file header/, ['run', '--plugin', 'none', truncated]],
    [
      'a missing initrd',
      3,
      /PV3002: cannot read the initrd/,
      ['run', '--plugin', 'none', text, '--initrd', './nosuch'],
    ],
    [
      'an ops module that is named, but not allowed',
      2,
      /PV5030: \S+named asks for the ops module mine: none may be named/,
      ['run', demo, '--plugin', 'none', '--boot-module', named],
    ],
    ['entries of nothing', 2, /PV3001: missing required argument 'image'/, ['entries']],
    ['entries of a text file', 3, /PV2003: notes\.txt is no kernel image/, ['entries', text]],
    ['a directory as image', 3, /PV3002: .*is a directory/, ['run', '--plugin', 'none', directory]],
  ])('%s', (_what, status, message, args) => {
    const result = runVm(...args);
    expect(result.stderr).toMatch(/^vm: PV\d{4}: [^\n]+: [^\n]+\n$/);
    expect(result.stderr).toMatch(message);
    expect(result.status).toBe(status);
  });

  it('nobody who reads the output is no failure', async () => {
    const child = spawn(process.execPath, [vm, 'run', '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    const said: Buffer[] = [];
    child.stderr.on('data', (bytes: Buffer) => said.push(bytes));
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect([status, Buffer.concat(said).toString()]).toEqual([143, '']);
  });

  it('nothing is left behind', () => {
    expect(readdirSync(directory).sort()).toEqual(['future.mjs', 'named', 'notes.txt', 'truncated.elf', 'typed.ts']);
  });
});

describe('what is asked about vm itself goes to standard output', () => {
  it.each([['--version'], ['-V']])('%s: the version of the package', (flag) => {
    const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
    expect(runVm(flag)).toEqual({ status: 0, stdout: `vm ${version}\n`, stderr: '' });
  });

  it.each([
    ['--help', /^Usage: vm \[options\] \[command\]\n[\s\S]*^ {2}entries /m],
    ['-h', /^Usage: vm \[options\]/],
    ['help', /^Usage: vm \[options\]/],
    ['help entries', /^Usage: vm entries \[options\] <image>/],
    ['help ops', /^Usage: vm ops /],
    ['run --help', /^Usage: vm run [\s\S]*--plugin/],
  ])('%s', (args, text) => {
    const { status, stdout, stderr } = runVm(...args.split(' '));
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(text);
  });
});
