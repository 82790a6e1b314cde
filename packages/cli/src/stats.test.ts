import { expect, it } from 'vitest';
import { formatStats } from './stats.ts';

it('orders time, speed, figures, exits and counters, the most frequent first, values to the right', () => {
  const machine = { instructions: 30_000_000, handlers: 7, 'exit.cpuid': 2, 'exit.io': 40, 'exit.cli': 2 };
  const plugins = [
    { plugin: 'one', name: 'rare', count: 1 },
    { plugin: 'one', name: 'often', count: 1234 },
  ];
  expect(formatStats(machine, plugins, 2).split('\n')).toEqual([
    'seconds          2.000',
    'instructions  30000000',
    'MIPS              15.0',
    'handlers             7',
    'exits               44',
    'exit.io             40',
    'exit.cli             2',
    'exit.cpuid           2',
    'one.often         1234',
    'one.rare             1',
  ]);
});

it('shows what there is', () => {
  expect(formatStats({}, [], 0.5)).toBe('seconds  0.500');
});
