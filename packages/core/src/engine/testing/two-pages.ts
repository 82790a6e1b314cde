import { FORCED_REGIONS, IDLE_HELPERS, PageTables, TestBench } from './test-bench.ts';

const RAM_BYTES = 8 << 20;
/** Beyond RAM, where devices are. */
const DEVICE = RAM_BYTES;
const log: string[] = [];
const host = {
  mmioRead(gpa: number, into: Uint8Array) {
    log.push(`read ${gpa.toString(16)} ${into.length}`);
    into.fill(gpa & 0xff);
  },
  mmioWrite(gpa: number, bytes: Uint8Array) {
    log.push(`write ${gpa.toString(16)} ${bytes.join(' ')}`);
  },
};
function machine(tier: { readonly regions?: typeof FORCED_REGIONS }): TestBench {
  // TypeScript may drop translations.
  const rdtsc = () => {
    bench.vcpu.flushTlb();
    return -1;
  };
  const helpers = { ...IDLE_HELPERS, rdtsc };
  const bench: TestBench = new TestBench({ ...tier, host: { ...host, helpers }, ramBytes: RAM_BYTES });
  return bench;
}
/** The same machine twice: what is compiled and what is interpreted have to do the same. */
export const regions = machine({ regions: FORCED_REGIONS });
export const interpreted = machine({});

/** Two pages side by side in the guest, of which the second is one of these. */
export const SECOND_PAGES = ['elsewhere', 'absent', 'readOnly', 'device', 'code'] as const;
type SecondPage = (typeof SECOND_PAGES)[number];
export const FIRST = 0x50000n;
export const BOUNDARY = 0x51000n;

export function prepare(bench: TestBench, second: SecondPage): void {
  bench.reset();
  log.length = 0;
  const tables = new PageTables(bench.ram, 0x400000);
  tables.identity(0, 0x20000);
  tables.map(FIRST, 0x6000);
  if (second === 'elsewhere') tables.map(BOUNDARY, 0x9000);
  if (second === 'readOnly') tables.map(BOUNDARY, 0x9000, 1n);
  if (second === 'device') tables.map(BOUNDARY, DEVICE);
  if (second === 'code') tables.map(BOUNDARY, 0x3000);
  for (let i = 0; i < 0x1000; i += 8) {
    bench.ram.write64(0x6000 + i, BigInt(0x6000 + i));
    bench.ram.write64(0x9000 + i, BigInt(0x9000 + i));
  }
  // Code in what the second page may lead to.
  bench.put(0x3000, '90 f4').put(0x3800, 'f4');
  bench.page(tables.root);
  bench.run(0x3000n);
  bench.run(0x3800n);
}

/** What there is to see after a run. */
export function seen(bench: TestBench, stop: unknown) {
  const { vcpu, ram } = bench;
  return {
    stop,
    registers: [...vcpu.gpr],
    flags: vcpu.rflags,
    memory: [0x3000, 0x6000, 0x9000].map((page) => Buffer.from(ram.readBytes(page, 0x1000)).toString('hex')),
    log: log.splice(0),
  };
}
