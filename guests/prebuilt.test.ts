/** The committed images are what the sources build to, byte for byte, with the toolchain that they name. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const guestsDir = import.meta.dirname;
const wantedToolchain = readFileSync(path.join(guestsDir, 'toolchain.txt'), 'utf8').trim();

function presentToolchain(): string {
  try {
    return execFileSync(path.join(guestsDir, 'toolchain.sh'), {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'none: gcc or ld is missing';
  }
}

const present = presentToolchain();
const reasonToSkip =
  present === wantedToolchain
    ? undefined
    : `the prebuilt images were made with "${wantedToolchain.replaceAll('\n', '; ')}", here is "${present.replaceAll('\n', '; ')}"`;

describe('prebuilt guests', () => {
  let outputDir = '';
  beforeAll(() => {
    outputDir = mkdtempSync(path.join(tmpdir(), 'polyvisor-guests-'));
  });
  afterAll(() => rmSync(outputDir, { recursive: true, force: true }));

  const images = [
    'hello.elf',
    'minimal.elf',
    'demo.elf',
    'demo32.elf',
    'legacy.bin',
    'lguest.elf',
    'ident.elf',
    'integer.elf',
    'kernels.elf',
    'mixed.elf',
    'operations.elf',
    'ops-boot.elf',
    'sniff.elf',
    'threads.elf',
    'vmi.bzimage',
    'walk.elf',
    'count-cr3.o',
    'count-cr3-2.o',
    'count-cr3-api2.o',
    'ops-driver.o',
    'count-flushes.o',
  ];
  /** Images that are not alone in their folder. */
  const folders: Readonly<Record<string, string>> = {
    'count-cr3-2.o': 'count-cr3',
    'count-cr3-api2.o': 'count-cr3',
    'demo32.elf': 'demo',
  };
  test.for(images)('%s is rebuilt to the same bytes', (image, { skip }) => {
    skip(reasonToSkip !== undefined, reasonToSkip);
    const output = path.join(outputDir, image);
    const folder = path.join(guestsDir, folders[image] ?? path.parse(image).name);
    execFileSync(path.join(folder, 'build.sh'), [output], { stdio: 'pipe' });
    const built = readFileSync(output);
    const committed = readFileSync(path.join(folder, 'prebuilt', image));
    expect(built.equals(committed), `run ${folder}/build.sh and commit the image`).toBe(true);
  });
});
