import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { EXPECTED_PATH, IMAGE_PATH, runOnEngine } from './legacy-guest.ts';

const recorded = readFileSync(EXPECTED_PATH, 'utf8');
const QEMU = 'qemu-system-x86_64';
/** Where everything has to be there, a test without its QEMU fails. */
const hasQemu = spawnSync(QEMU, ['--version']).status === 0 || process.env.CI !== undefined;
/** What isa-debug-exit makes of the 31 that the image writes: 2 × value + 1. */
const EXIT_STATUS = 0x31 * 2 + 1;

describe('legacy modes', () => {
  it.each([
    ['in tier 0', false],
    ['in tier 1, all code compiled into regions', { threshold: 1, batch: 1 }],
  ] as const)('behave as recorded %s', async (_tier, regions) => {
    expect(await runOnEngine({ engine: { hot: [], regions } })).toBe(recorded);
  });

  it.skipIf(!hasQemu)(`are recorded as ${QEMU} runs them${hasQemu ? '' : ' (skipped: it is not installed)'}`, () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polyvisor-legacy-'));
    try {
      const printed = path.join(folder, 'printed.txt');
      const machine = '-accel tcg -cpu qemu64 -m 16 -display none -nodefaults -no-reboot'.split(' ');
      const devices = ['-debugcon', `file:${printed}`, '-device', 'isa-debug-exit,iobase=0xf4', '-kernel', IMAGE_PATH];
      expect(() => execFileSync(QEMU, [...machine, ...devices], { timeout: 60_000, stdio: 'pipe' })).toThrow(
        expect.objectContaining({ status: EXIT_STATUS }),
      );
      expect(readFileSync(printed, 'utf8')).toBe(recorded);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
