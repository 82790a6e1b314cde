/**
 * `npm run bench:regions`: whether compiled regions leave something behind when their code is overwritten. Makes regions, a
 * hundred to a module, and overwrites their code, over and over; prints what the process holds in between.
 *
 *   --regions N       how many in all (50000)
 *
 * What is looked at after garbage collection: regions and modules in place, memory of the process and JavaScript's heap. Exits 1
 * if regions or modules remain, or memory has grown by more than 10 % from the second fifth of the regions to the last.
 */
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { TestBench } from '../packages/core/src/engine/testing/test-bench.ts';
import { MemoryWrites } from '../packages/core/src/memory/memory-writes.ts';
import { positive } from './request.ts';

const PER_MODULE = 100;
const ROWS = 5;
const { values } = parseArgs({ options: { regions: { type: 'string' } } });
const rounds = Math.ceil(positive('--regions', values.regions ?? '50000') / PER_MODULE / ROWS);
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const starts = Array.from({ length: PER_MODULE }, (_, i) => 0x1000 + i * 16);
const bench = new TestBench({ ramBytes: 1 << 20, regions: { threshold: 1, batch: PER_MODULE } });
let value = 0;

/** New code everywhere, and a region of each piece of it. */
function churn(): void {
  // mov eax,imm32 ; hlt
  const bytes = new Uint8Array(6);
  bytes[0] = 0xb8;
  new DataView(bytes.buffer).setUint32(1, ++value, true);
  bytes[5] = 0xf4;
  bench.ram.writeAll(MemoryWrites.of(starts.map((gpa) => ({ gpa, bytes }))));
  for (const at of starts) bench.run(BigInt(at));
  bench.run(BigInt(starts[PER_MODULE / 2]));
  if (bench.vcpu.gpr[0] !== BigInt(value)) throw new Error(`a region of code that is gone has run in round ${value}`);
}

const megabytes = (bytes: number) => Math.round(bytes / 2 ** 20);
const held: { regions: number; modules: number; memory: number }[] = [];
const rows = Array.from({ length: ROWS }, () => {
  for (let round = 0; round < rounds; round++) churn();
  collectGarbage();
  const figures = bench.engine.statistics();
  const { rss, heapUsed } = process.memoryUsage();
  held.push({ regions: figures['regions in place'], modules: figures['region modules in place'], memory: rss });
  return [
    `${figures.regions}`,
    `${figures['regions in place']}`,
    `${figures['region modules in place']}`,
    `${megabytes(rss)}`,
    `${megabytes(heapUsed)}`,
  ];
});
console.log('| regions made | in place | modules in place | process, MB | heap, MB |\n|---:|---:|---:|---:|---:|');
for (const row of rows) console.log(`| ${row.join(' | ')} |`);
const [second, last] = [held[1], held[ROWS - 1]];
if (last.regions > PER_MODULE || last.modules > 1 || last.memory > second.memory * 1.1) process.exitCode = 1;
