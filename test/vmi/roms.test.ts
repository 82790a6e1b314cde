/** The committed ROMs are what their sources build to, byte for byte, with the toolchain that the guests name. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native, trap, xen } from '../../packages/plugin-vmi/src/rom/images.ts';

const root = path.join(import.meta.dirname, '../..');
const sources = path.join(root, 'packages/plugin-vmi/rom');
const wanted = readFileSync(path.join(root, 'guests/toolchain.txt'), 'utf8').trim();

function toolchain(): string {
  try {
    return execFileSync(path.join(root, 'guests/toolchain.sh'), { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return 'none: gcc or ld is missing';
  }
}

const present = toolchain();

describe.each([
  ['native', native],
  ['trap', trap],
  ['xen', xen],
] as const)('%s.rom', (name, held) => {
  const committed = readFileSync(path.join(sources, 'prebuilt', `${name}.rom`));
  let output = '';
  beforeAll(() => {
    output = mkdtempSync(path.join(tmpdir(), 'polyvisor-roms-'));
  });
  afterAll(() => rmSync(output, { recursive: true, force: true }));

  test('is what the plug-in holds', () => {
    expect(Buffer.from(held, 'base64').equals(committed)).toBe(true);
  });

  test('is rebuilt to the same bytes', ({ skip }) => {
    skip(present !== wanted, `the ROMs were made with "${wanted}", here is "${present}"`);
    execFileSync(path.join(sources, 'build.sh'), [output], { stdio: 'pipe' });
    const built = readFileSync(path.join(output, `${name}.rom`));
    expect(built.equals(committed), `run ${sources}/build.sh and commit the ROMs`).toBe(true);
  });
});
