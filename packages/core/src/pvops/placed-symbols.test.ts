import { expect, it } from 'vitest';
import type { Machine } from '../machine/index.ts';
import { POWER_OFF, runNative } from '../machine/testing/native-guest.ts';
import { PlacedSymbols } from './placed-symbols.ts';
import { buildKernel } from './testing/kernel-fixture.ts';
import { gvaOf, kernel, kernelOptions, placeKernel, SLIDE } from './testing/kernel-in-memory.ts';

/** What a look finds in a machine that has been prepared. */
async function inMachine(look: (machine: Machine) => void): Promise<void> {
  await runNative(POWER_OFF, {}, () => ({ memoryBytes: 8 << 20 }), look);
}

it('names follow a kernel to where it has moved', async () => {
  const symbols = new PlacedSymbols(kernel);
  await inMachine((machine) => {
    symbols.started(machine);
    expect(symbols.look().areFound).toBe(false);
    expect(symbols.nameOf(gvaOf(0x312) - SLIDE)).toBe('native_value+0x2');
    placeKernel(machine);
    expect(symbols.look().areFound).toBe(true);
    expect(symbols.nameOf(gvaOf(0x312))).toBe('native_value+0x2');
    expect(symbols.linkedAt(gvaOf(0x312))).toBe(gvaOf(0x312) - SLIDE);
  });
  // Another boot: it may be elsewhere.
  await inMachine((machine) => {
    symbols.started(machine);
    expect(symbols.look().areFound).toBe(false);
  });
});

it('another kernel at the place is not taken for it', async () => {
  const other = buildKernel({ ...kernelOptions, after: [0x00_00_79_75_6e_69_4cn, 0n] });
  await inMachine((machine) => {
    placeKernel(machine, other);
    const symbols = new PlacedSymbols(kernel);
    symbols.started(machine);
    expect(symbols.look().areFound).toBe(false);
  });
});

it('what is no Linux kernel stays where it is linked', () => {
  const { linux_banner: _, ...symbols } = kernelOptions.symbols ?? {};
  const placed = new PlacedSymbols(buildKernel({ ...kernelOptions, symbols }));
  expect(placed.look().areFound).toBe(true);
  expect(placed.nameOf(gvaOf(0x300) - SLIDE)).toBe('native_halt');
});
