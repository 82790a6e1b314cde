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

it('functions are logged once, in their order, with section and caller', () => {
  const log = new FunctionLog((gva) => names.get(gva), elf);
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
