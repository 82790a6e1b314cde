import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageTables } from '../../engine/testing/test-bench.ts';
import { CODE, enter, testGuest } from '../testing/test-guest.ts';

const PCIDE = 1n << 17n;
const CR4 = 0x620n;
const [RAX, RCX] = [0, 1];
/** What the tests read, mapped by each root to one of two pages; its entries; where descriptors and results lie. */
const PAGE = 0x80_0000;
const VALUES = [0x9_0000, 0xa_0000] as const;
const ROOT_TABLES = [0x4_0000, 0x5_0000] as const;
const DESCRIPTOR = 0x3_0000;
const RESULTS = 0x3_1000;

const little = (value: bigint, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) =>
    Number((value >> BigInt(8 * i)) & 0xffn)
      .toString(16)
      .padStart(2, '0'),
  ).join('');
const absolute = (address: number) => `25 ${little(BigInt(address), 4)}`;
const movRax = (value: bigint) => `48b8 ${little(BigInt.asUintN(64, value), 8)}`;
const store = (address: number) => `48a3 ${little(BigInt(address), 8)}`;

type Step =
  | { kind: 'map'; root: number; value: number }
  | { kind: 'load'; root: number; pcid: number; keeps: boolean }
  | { kind: 'invlpg' }
  | { kind: 'invpcid'; type: number; pcid: number }
  | { kind: 'read' };

/** Run steps on a processor with PCIDs, from root 0 and PCID 0 on; answers what the reads have found. */
async function run(steps: readonly Step[]): Promise<number[]> {
  const roots: PageTables[] = [];
  let reads = 0;
  const encode = (step: Step): string => {
    switch (step.kind) {
      case 'map':
        return `${movRax(BigInt(VALUES[step.value]) | 3n)} ${store(roots[step.root].entry(BigInt(PAGE)))}`;
      case 'load':
        return `${movRax(BigInt(roots[step.root].root) | BigInt(step.pcid) | (step.keeps ? 1n << 63n : 0n))} 0f22d8`;
      case 'invlpg':
        return `0f013c ${absolute(PAGE)}`;
      case 'invpcid':
        return `${movRax(BigInt(step.pcid))} ${store(DESCRIPTOR)} ${movRax(BigInt(PAGE))} ${store(DESCRIPTOR + 8)}
          ${movRax(BigInt(step.type))} 660f388204 ${absolute(DESCRIPTOR)}`;
      case 'read':
        return `488b1c ${absolute(PAGE)} 48891c ${absolute(RESULTS + 8 * reads++)}`;
    }
  };
  const guest = await testGuest({
    code: {},
    prepare: ({ machine, vcpu }) => {
      for (const at of ROOT_TABLES) {
        const tables = new PageTables(machine.memory, at);
        tables.identity(0x1000, 0xb_0000);
        tables.map(BigInt(PAGE), VALUES[0]);
        roots.push(tables);
      }
      VALUES.forEach((at, value) => machine.memory.write64(at, BigInt(value)));
      vcpu.cr3 = BigInt(roots[0].root);
      vcpu.cr4 |= PCIDE;
      const code = steps.map(encode).join(' ').replaceAll(/\s/g, '');
      machine.memory.writeBytes(CODE, Buffer.from(`${code}f4`, 'hex'));
    },
  });
  await guest.run();
  expect(guest.stoppedIn).toBeUndefined();
  return Array.from({ length: reads }, (_, i) => Number(guest.machine.memory.read64(RESULTS + 8 * i)));
}

const read: Step = { kind: 'read' };
const load = (root: number, pcid: number, keeps = false): Step => ({ kind: 'load', root, pcid, keeps });
const map = (root: number, value: number): Step => ({ kind: 'map', root, value });

describe('process contexts', () => {
  it('keep their translations where MOV to CR3 says so', async () => {
    expect(await run([load(0, 1), read, load(1, 2), map(0, 1), load(0, 1, true), read])).toEqual([0, 0]);
    expect(await run([load(0, 1), read, load(1, 2), map(0, 1), load(0, 1), read])).toEqual([0, 1]);
  });

  it.each([
    ['INVLPG', { kind: 'invlpg' }],
    ['INVPCID of an address', { kind: 'invpcid', type: 0, pcid: 1 }],
    ['INVPCID of a context', { kind: 'invpcid', type: 1, pcid: 1 }],
    ['INVPCID of all', { kind: 'invpcid', type: 2, pcid: 0 }],
    ['INVPCID of all but global ones', { kind: 'invpcid', type: 3, pcid: 0 }],
  ] as const)('%s drops those of the present one', async (_name, step) => {
    expect(await run([load(1, 1), read, map(1, 1), step, read])).toEqual([0, 1]);
  });

  it('another context is another matter', async () => {
    const other: Step = { kind: 'invpcid', type: 1, pcid: 2 };
    expect(await run([load(0, 1), read, map(0, 1), other, read])).toEqual([0, 0]);
  });

  it('are those of a processor that may forget, and never has what was dropped', async () => {
    const root = fc.nat(1);
    const pcid = fc.constantFrom(0, 1, 2, 0xfff);
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ kind: fc.constant('map' as const), root, value: fc.nat(1) }),
      fc.record({ kind: fc.constant('load' as const), root, pcid, keeps: fc.boolean() }),
      fc.constant<Step>({ kind: 'invlpg' }),
      fc.record({ kind: fc.constant('invpcid' as const), type: fc.nat(3), pcid }),
      fc.constant(read),
      fc.constant(read),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 30 }), async (steps) => {
        const found = await run(steps);
        const tables = [0, 0];
        const cached = new Map<number, Set<number>>();
        let present = { root: 0, pcid: 0 };
        for (const each of steps) {
          if (each.kind === 'map') tables[each.root] = each.value;
          else if (each.kind === 'load') {
            present = each;
            if (!each.keeps) cached.delete(each.pcid);
          } else if (each.kind === 'invlpg') cached.delete(present.pcid);
          else if (each.kind === 'invpcid' && each.type < 2) cached.delete(each.pcid);
          else if (each.kind === 'invpcid') cached.clear();
          else {
            const value = found.shift() as number;
            const own = cached.get(present.pcid) ?? new Set();
            expect([...own, tables[present.root]]).toContain(value);
            cached.set(present.pcid, own.add(value));
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('what PCIDs refuse', () => {
  const stoppedIn = async (code: string, prepare: Parameters<typeof testGuest>[0]['prepare']) => {
    const guest = await testGuest({ code: { [CODE]: code }, ...(prepare && { prepare }) });
    await guest.run();
    return guest.stoppedIn;
  };
  const PROTECTION = 13;

  it('CR4.PCIDE needs a CR3 without a PCID', async () => {
    const set = (low: bigint) =>
      stoppedIn('0f22e0 f4', ({ vcpu }) => {
        vcpu.cr3 |= low;
        vcpu.gpr[RAX] = CR4 | PCIDE;
      });
    expect(await set(0n)).toBeUndefined();
    expect(await set(0x18n)).toBe(PROTECTION);
  });

  it('the highest bit of CR3 needs CR4.PCIDE, and is not kept', async () => {
    const loaded = async (cr4: bigint) => {
      const guest = await testGuest({
        code: { [CODE]: '0f22d8 0f20d9 f4' },
        prepare: ({ vcpu }) => {
          vcpu.cr4 |= cr4;
          vcpu.gpr[RAX] = vcpu.cr3 | 5n | (1n << 63n);
        },
      });
      await guest.run();
      return guest.stoppedIn ?? guest.vcpu.gpr[RCX] & 0xfffn;
    };
    expect(await loaded(0n)).toBe(PROTECTION);
    expect(await loaded(PCIDE)).toBe(5n);
  });

  it('paging cannot end while CR4.PCIDE is set', async () => {
    const end = (cr4: bigint) =>
      stoppedIn('0f22c0 f4', ({ vcpu }) => {
        enter(vcpu, 0);
        vcpu.cr4 |= cr4;
        vcpu.gpr[RAX] = 0x11n;
      });
    expect(await end(PCIDE)).toBe(PROTECTION);
  });

  it.each([
    ['a type above 3', 4n, 0n, 0n, PCIDE],
    ['a type beyond 32 bits', 1n << 32n, 0n, 0n, PCIDE],
    ['reserved bits', 2n, 0x1000n, 0n, PCIDE],
    ['an address that is not canonical', 0n, 0n, 1n << 47n, PCIDE],
    ['an address of another context without CR4.PCIDE', 0n, 1n, 0n, 0n],
    ['another context without CR4.PCIDE', 1n, 1n, 0n, 0n],
  ])('INVPCID with %s', async (_what, type, low, high, cr4) => {
    const refused = await stoppedIn(`660f38820c ${absolute(DESCRIPTOR)} f4`, ({ machine, vcpu }) => {
      vcpu.cr4 |= cr4;
      vcpu.gpr[RCX] = type;
      machine.memory.write64(DESCRIPTOR, low);
      machine.memory.write64(DESCRIPTOR + 8, high);
    });
    expect(refused).toBe(PROTECTION);
  });

  it('INVPCID at CPL 3', async () => {
    const code = `660f38820c ${absolute(DESCRIPTOR)} f4`;
    expect(await stoppedIn(code, ({ vcpu }) => enter(vcpu, 3))).toBe(PROTECTION);
  });

  it('nothing of what INVPCID may do without CR4.PCIDE', async () => {
    for (const type of [0n, 1n, 2n, 3n]) {
      const refused = await stoppedIn(`660f38820c ${absolute(DESCRIPTOR)} f4`, ({ vcpu }) => {
        vcpu.gpr[RCX] = type;
      });
      expect(refused).toBeUndefined();
    }
  });
});
