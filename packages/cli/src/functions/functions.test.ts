import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ElfImage } from '@polyvisor/plugin-api';
import { afterAll, expect, it } from 'vitest';
import { compareBoots } from './compare.ts';
import { FunctionFile, type LoggedFunction, readFunctions } from './function-file.ts';
import { FunctionLog } from './function-log.ts';

const directory = mkdtempSync(path.join(tmpdir(), 'polyvisor-functions-'));
afterAll(() => rmSync(directory, { recursive: true }));
const file = (name: string) => path.join(directory, name);

const names = new Map([
  [0x1000n, 'start'],
  [0x1010n, 'start+0x10'],
  [0x2000n, 'setup'],
]);
const elf = {
  section: (name: string) => (name === '.init.text' ? { address: 0x1000n, sizeBytes: 0x1000 } : undefined),
} as ElfImage;

/** Names for a kernel that is found at the so-manyth look, moved by so much. */
function kernelNames(slide = 0n, looks = 0) {
  const found = {
    looks: 0,
    areFound: looks === 0,
    look() {
      this.looks++;
      this.areFound ||= this.looks >= looks;
      return this;
    },
    linkedAt: (gva: bigint) => (found.areFound ? gva - slide : gva),
    nameOf: (gva: bigint) => names.get(found.linkedAt(gva)),
  };
  return found;
}

it('functions are logged once, in their order, with section and caller', () => {
  const log = new FunctionLog(kernelNames(), elf);
  log.add({ rip: 0x1000n, stackTop: 0x77n });
  log.add({ rip: 0x1010n, stackTop: undefined });
  log.add({ rip: 0x2000n, stackTop: 0x1010n });
  log.add({ rip: 0x2000n, stackTop: undefined });
  log.add({ rip: 0x3000n, stackTop: 0x1010n });
  expect(log.functions).toEqual([
    { name: 'start', section: 'init', caller: '-' },
    { name: 'setup', section: 'text', caller: 'start' },
  ]);
});

it('what ran before a kernel was found where it has moved to is named then', () => {
  const moved = kernelNames(0x5000n, 3);
  const log = new FunctionLog(moved, elf);
  log.add({ rip: 0x7000n, stackTop: 0x6010n });
  for (let i = 0; i < 2100; i++) log.add({ rip: 0x77n, stackTop: undefined });
  log.add({ rip: 0x6000n, stackTop: undefined });
  expect([moved.areFound, log.functions]).toEqual([false, []]);
  log.settle();
  expect(log.functions).toEqual([
    { name: 'setup', section: 'text', caller: 'start' },
    { name: 'start', section: 'init', caller: '-' },
  ]);
});

it('no more runs wait for names than are kept at most', () => {
  const log = new FunctionLog(kernelNames(0n, Number.POSITIVE_INFINITY), elf);
  for (let i = 0; i < 70_000; i++) log.add({ rip: 0x1000n, stackTop: undefined });
  expect(log.functions).toEqual([{ name: 'start', section: 'init', caller: '-' }]);
});

it('a file is read as it was written, and what is none is refused', () => {
  const functions: LoggedFunction[] = [
    { name: 'start', section: 'init', caller: '-' },
    { name: 'setup', section: 'text', caller: 'start' },
  ];
  const sink = new FunctionFile(file('one'));
  sink.write(functions);
  sink.close();
  expect(readFunctions(file('one'))).toEqual(functions);
  for (const bad of ['start', 'start\tdata\t-', 'start\tinit\t', 'start\tinit\t-\tmore']) {
    writeFileSync(file('bad'), `setup\ttext\tstart\n${bad}\n`);
    expect(() => readFunctions(file('bad'))).toThrow(/line 2 is no function/);
  }
  expect(() => readFunctions(file('missing'))).toThrow(expect.objectContaining({ code: 'PV3002' }));
});

it('what only some boots have run, and what they came to by other ways', () => {
  const boot = (name: string, ...functions: [string, string][]) => ({
    name,
    functions: functions.map(([of, caller]) => ({ name: of, caller, section: 'init' as const })),
  });
  const native = boot('native', ['start', '-'], ['setup', 'start'], ['probe', 'setup']);
  const pv = boot('pv', ['pv_start', '-'], ['setup', 'pv_start'], ['start', '-']);
  expect(compareBoots([native, pv])).toEqual({
    boots: [
      { name: 'native', functions: 3 },
      { name: 'pv', functions: 3 },
    ],
    inAll: 2,
    inSome: [
      { name: 'probe', boots: [{ number: 3, caller: 'setup' }, undefined] },
      { name: 'pv_start', boots: [undefined, { number: 1, caller: '-' }] },
    ],
    byOtherWays: [
      {
        name: 'setup',
        boots: [
          { number: 2, caller: 'start' },
          { number: 2, caller: 'pv_start' },
        ],
      },
    ],
  });
});
