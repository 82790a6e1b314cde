import { expect, it } from 'vitest';
import { decode } from '../isa/decoder.ts';
import type { CpuMode } from '../isa/modes.ts';
import { COMMON_INSTRUCTIONS } from './common.ts';
import { HOT_INSTRUCTIONS } from './hot.ts';
import { hex, TestBench } from './testing/test-bench.ts';

const handlers = (bench: TestBench) => bench.engine.statistics().handlers;
const bench = (common: readonly string[]) => new TestBench({ ramBytes: 1 << 20, common: { long64: common } });

/** Instructions of a shape each. */
const DIFFERENT = [
  ...['00c0', '08c0', '10c0', '18c0', '20c0', '28c0', '30c0', '38c0'],
  ...['01c0', '09c0', '11c0', '19c0', '21c0', '29c0', '31c0', '39c0'],
  ...['4801c0', '4809c0', '4811c0', '4819c0', '4821c0', '4829c0', '4831c0', '4839c0'],
  ...['6601c0', '6609c0', '6611c0', '6619c0', '6621c0', '6629c0', '6631c0', '6639c0'],
  ...['88c0', '89c0', '4889c0', '6689c0'],
];
/** MUL, NEG, NOT of a register, and NEG without flags. */
const COMMON = ['f7e0', 'f7d8', 'f7d0', 'q:f7d8'];

it('common instructions are compiled as soon as a guest has needed some others', () => {
  const few = bench(COMMON).put(0x1000, `${DIFFERENT.slice(0, 8).join('')}f4`);
  const fewAlone = bench([]).put(0x1000, `${DIFFERENT.slice(0, 8).join('')}f4`);
  for (const each of [few, fewAlone]) each.run(0x1000n);
  expect(handlers(few)).toBe(handlers(fewAlone));
  const many = bench(COMMON).put(0x1000, `${DIFFERENT.join('')}f4`);
  const manyAlone = bench([]).put(0x1000, `${DIFFERENT.join('')}f4`);
  for (const each of [many, manyAlone]) each.run(0x1000n);
  expect(handlers(many)).toBe(handlers(manyAlone) + COMMON.length);
});

it('they are what is run then, with the same results', () => {
  const many = bench(COMMON).put(0x1000, `${DIFFERENT.join('')}f4`);
  many.run(0x1000n);
  const before = handlers(many);
  // neg eax ; not eax ; neg eax ; mul eax ; hlt
  many.put(0x2000, 'f7d8 f7d0 f7d8 f7e0 f4').vcpu.gpr[0] = 7n;
  expect(many.run(0x2000n)).toMatchObject({ exit: 'hlt', executed: 5 });
  expect(many.vcpu.gpr[0]).toBe(36n);
  expect(handlers(many)).toBe(before);
});

it.each(['long64', 'flat32'] as const)(
  'each of %s stands once in the list, and none of them in the dispatch loop',
  (mode) => {
    const named = (list: readonly string[], of: CpuMode) =>
      list.flatMap((each) => each.split('+')).map((each) => nameOf(each, of));
    const common = named(COMMON_INSTRUCTIONS[mode] ?? [], mode);
    expect(new Set(common).size).toBe(common.length);
    expect(common.length).toBeGreaterThan(500);
    const inline = new Set(named(HOT_INSTRUCTIONS, 'long64'));
    expect(common.filter((name) => inline.has(name))).toEqual([]);
  },
);

function nameOf(example: string, mode: CpuMode): string {
  const isQuiet = example.startsWith('q:');
  const bytes = hex(isQuiet ? example.slice(2) : example);
  const result = decode((i) => bytes[i] ?? -1, mode);
  if (!result.ok || result.instruction.lengthBytes !== bytes.length) throw new Error(`${example} does not decode`);
  return `${isQuiet ? 'quiet ' : ''}${result.instruction.shape.key}`;
}
