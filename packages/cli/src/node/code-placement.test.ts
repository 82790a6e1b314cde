import { spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';

// A module with a function; the constant in it tells it from others, as equal ones share their code.
const MODULE = '0061736d0100000001040160000003020100070501016600000a0701050041011a0b';

const PROGRAM = `
import { readFileSync } from 'node:fs';
import { placeCodeTogether } from '${new URL('code-placement.ts', import.meta.url)}';
const codePages = () => readFileSync('/proc/self/maps', 'latin1').split('\\n')
  // Without a file.
  .filter((line) => / [r-][w-]xp .* 0 *$/.test(line))
  .map((line) => Number.parseInt(line, 16));
const modules = [];
let number = 0;
const make = () => {
  const before = new Set(codePages());
  for (let i = 0; i < 8; i++) {
    const instance = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from('${MODULE}'.replace('4101', '41' + (16 + number++)), 'hex')));
    instance.exports.f();
    modules.push(instance);
  }
  const found = codePages().filter((at) => !before.has(at));
  return { found: found.length, first: Math.min(...found), spread: Math.max(...found) - Math.min(...found) };
};
const apart = make();
await placeCodeTogether();
console.log(JSON.stringify({ apart, together: make() }));
`;

const nodeMajor = Number(process.versions.node.split('.')[0]);

it.runIf(process.platform === 'linux' && process.arch === 'x64')('puts modules next to each other', () => {
  const run = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', PROGRAM], {
    cwd: new URL('.', import.meta.url),
    encoding: 'utf8',
  });
  expect(run.stderr).toBe('');
  const { apart, together } = JSON.parse(run.stdout);
  // Mappings side by side are one; from Node 24 on V8 has them so by itself.
  if (nodeMajor < 24) {
    expect(apart.found).toBeGreaterThan(4);
    expect(apart.spread).toBeGreaterThan(2 ** 40);
  }
  expect(together.found).toBeGreaterThan(0);
  expect(together.spread).toBeLessThan(2 ** 30);
  expect(together.first).toBeGreaterThan(2 ** 46);
});

it.runIf(process.platform === 'linux' && process.arch === 'x64')('leaves a limited address space to others', () => {
  const program = `
    import { readFileSync } from 'node:fs';
    import { readFile } from 'node:fs/promises';
    import { placeCodeTogether } from '${new URL('code-placement.ts', import.meta.url)}';
    import { linuxLibC } from '${new URL('libc.ts', import.meta.url)}';
    // Node takes some itself for the first file that it reads so, and for what calls the C library.
    await readFile('/proc/self/maps');
    await linuxLibC();
    const sizeMiB = () => Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]) / 1024;
    const before = sizeMiB();
    await placeCodeTogether();
    console.log(sizeMiB() - before);
  `;
  const limited = `ulimit -v 60000000 && exec "$0" "$@"`;
  const args = ['-c', limited, process.execPath, '--import', 'tsx', '--input-type=module', '-e', program];
  const run = spawnSync('sh', args, { cwd: new URL('.', import.meta.url), encoding: 'utf8' });
  expect(run.stderr).toBe('');
  expect(Number(run.stdout)).toBeLessThan(1024);
});
