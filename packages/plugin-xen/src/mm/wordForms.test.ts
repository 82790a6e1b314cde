/** What 32-bit guests do thousands of times is carried out in words: it is the same as the call it stands for. */
import { Gpr } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Booted32, boot32, hypercall32, KERNEL_PADDR_32, VIRT_BASE_32 } from '../testing/guest32.ts';
import { walk } from '../testing/walk.ts';

const CODE = VIRT_BASE_32 + KERNEL_PADDR_32;
const SCRATCH = CODE + 0x2000n;
const MAPPED = VIRT_BASE_32 + 0x3f_e000n;
const WINDOW = VIRT_BASE_32 + 0x3f_d000n;
const Call = { MMU_UPDATE: 1, MULTICALL: 13, UPDATE_VA: 14, ASSIST: 21, MMUEXT: 26 } as const;
const ASSIST_WRITABLE_PAGETABLES = 2;
const DOMID_SELF = 0x7ff0;
const PRESENT = 1;
const CARRY = 1n;
const EAX = '10';
const LENGTH_WITHOUT_OPERAND = 2;

function gpa({ memory, cpu }: Booted32, gva: bigint): number {
  return walk(memory, cpu.cr3, gva, 'read', false) as number;
}
function put(guest: Booted32, gva: bigint, ...words: number[]): void {
  words.forEach((word, i) => guest.memory.write32(gpa(guest, gva + BigInt(i * 4)), word >>> 0));
}
/** Machine address of the L1 entry that maps {@link MAPPED}. */
function entryOf({ memory, cpu }: Booted32): number {
  const below = (table: number, slot: number) => memory.read32(table + slot * 8) & ~0xfff;
  const l3 = Number(cpu.cr3) & ~0x1f;
  const l2 = below(below(l3, 0), Number(MAPPED >> 30n));
  return below(l2, Number((MAPPED >> 21n) & 511n)) + Number((MAPPED >> 12n) & 511n) * 8;
}
const entryWords = (guest: Booted32) => [0, 4].map((offset) => guest.memory.read32(entryOf(guest) + offset));
const mmuUpdate = (guest: Booted32, lo: number, hi: number): number => {
  put(guest, SCRATCH, entryOf(guest), 0, lo, hi);
  return hypercall32(guest, Call.MMU_UPDATE, SCRATCH, 1, 0, DOMID_SELF);
};

/** Entries that may stand there, ones that may not (a page table to be written), and nonsense; frames near the guest's own. */
const low = fc.oneof(
  fc.record({ frame: fc.nat(0xd00), flags: fc.nat(0xfff) }).map(({ frame, flags }) => (frame << 12) | flags),
  fc.nat(0xffff_ffff).map((word) => word | 0),
);
const high = fc.oneof(
  fc.constantFrom(0, 0x8000_0000 | 0),
  fc.nat(0xffff_ffff).map((word) => word | 0),
);

describe('writes of words to page tables in use', () => {
  const FORMS = {
    mov: { code: `89${EAX}`, immediate: 'c700', immediateBytes: 4 },
    xchg: { code: `87${EAX}`, immediate: undefined, immediateBytes: 0 },
    bts: { code: `0fab${EAX}`, immediate: '0fba28', immediateBytes: 1 },
    btr: { code: `0fb3${EAX}`, immediate: '0fba30', immediateBytes: 1 },
    btc: { code: `0fbb${EAX}`, immediate: '0fba38', immediateBytes: 1 },
  } as const;
  type Name = keyof typeof FORMS;

  function result(name: Name, old: number, source: number): number {
    const bit = 1 << (source & 31);
    const values: Record<Name, number> = { mov: source, xchg: source, bts: old | bit, btr: old & ~bit, btc: old ^ bit };
    return values[name] | 0;
  }
  /** The instruction's bytes: register EDX as the source, or an immediate operand. */
  function codeOf(name: Name, source: number, byRegister: boolean): Buffer {
    const { code, immediate, immediateBytes } = FORMS[name];
    if (byRegister || immediate === undefined) return Buffer.from(code, 'hex');
    const operand = Buffer.alloc(4);
    operand.writeInt32LE(immediateBytes === 1 ? source & 0x7f : source);
    return Buffer.concat([Buffer.from(immediate, 'hex'), operand.subarray(0, immediateBytes)]);
  }
  const prepared = (entry: readonly [number, number]): Booted32 => {
    const guest = boot32();
    expect(hypercall32(guest, Call.ASSIST, 0, ASSIST_WRITABLE_PAGETABLES)).toBe(0);
    const table = entryOf(guest) & ~0xfff;
    expect(hypercall32(guest, Call.UPDATE_VA, WINDOW, table | PRESENT, 0, 0)).toBe(0);
    mmuUpdate(guest, ...entry);
    return guest;
  };

  it('are an mmu_update of the entry, and what else the instruction does', () => {
    const property = fc.property(
      fc.constantFrom(...(Object.keys(FORMS) as Name[])),
      fc.tuple(low, high),
      fc.constantFrom(0, 1),
      fc.oneof(low, high, fc.nat(31)),
      fc.boolean(),
      (name, entry, half, source, byRegister) => {
        const [guest, twin] = [prepared(entry), prepared(entry)];
        const [lo, hi] = entryWords(guest);
        const old = half === 0 ? lo : hi;
        const code = codeOf(name, source, byRegister);
        const value = result(name, old, source);
        // A new upper half that does not fit makes the entry absent until the lower one comes.
        const accepted =
          half === 0
            ? mmuUpdate(twin, value, hi) === 0
            : mmuUpdate(twin, lo, value) === 0 || mmuUpdate(twin, lo & ~PRESENT, value) === 0;
        guest.memory.writeBytes(gpa(guest, CODE), Uint8Array.from([...code, 0x90, 0x90, 0x90, 0x90]));
        const { cpu } = guest;
        cpu.rip = CODE;
        cpu.gpr[Gpr.RDX] = BigInt(source >>> 0);
        cpu.rflags &= ~CARRY;
        const cr2 = WINDOW + BigInt(entryOf(guest) & 0xfff) + BigInt(half * 4);
        guest.host.exit(cpu, { kind: 'exception', vector: 14, errorCode: 3, cr2 });
        expect(entryWords(guest)).toEqual(entryWords(twin));
        expect(cpu.rip === CODE + BigInt(code.length)).toBe(accepted);
        expect(guest.host.counters.get('writablePageTables') ?? 0).toBe(accepted ? 1 : 0);
        if (!accepted) return;
        expect(cpu.gpr[Gpr.RDX]).toBe(BigInt((name === 'xchg' ? old : source) >>> 0));
        const isBit = name.startsWith('b');
        expect(cpu.rflags & CARRY).toBe(isBit ? BigInt((old >>> (source & 31)) & 1) : 0n);
      },
    );
    fc.assert(property, { seed: 89, numRuns: 60 });
  });

  it('are found by their bytes, whatever stood there before', () => {
    const guest = prepared([0, 0]);
    const cr2 = WINDOW + BigInt(entryOf(guest) & 0xfff);
    const frame = gpa(guest, CODE);
    for (const [code, value] of [
      [FORMS.mov.code, 0x40],
      [FORMS.btc.code, 0x42],
      [FORMS.mov.code, 0x40],
    ] as const) {
      guest.memory.writeBytes(frame, Buffer.from(code, 'hex'));
      guest.cpu.rip = CODE;
      guest.cpu.gpr[Gpr.RDX] = code === FORMS.mov.code ? 0x40n : 1n;
      guest.host.exit(guest.cpu, { kind: 'exception', vector: 14, errorCode: 3, cr2 });
      expect(guest.memory.read32(entryOf(guest))).toBe(value);
      expect(guest.cpu.rip).toBeGreaterThanOrEqual(CODE + BigInt(LENGTH_WITHOUT_OPERAND));
    }
  });
});

describe('update_va_mapping in a multicall', () => {
  const ENTRY_WORDS = 8;
  const LIST = SCRATCH + 0x400n;

  /** Result of the one call in a list, where calls are not looked at; of the call itself, where they are. */
  function inMulticall(guest: Booted32, args: readonly number[]): number {
    guest.host.isTraced = () => false;
    put(guest, LIST, Call.UPDATE_VA, 0xdead, ...args, 0, 0);
    expect(hypercall32(guest, Call.MULTICALL, LIST, 1)).toBe(0);
    return guest.memory.read32(gpa(guest, LIST + 4n)) | 0;
  }

  it('is update_va_mapping', () => {
    const address = fc.oneof(
      fc.constantFrom(MAPPED, WINDOW, LIST + 0x1000n, 0xf580_0000n, 0xffff_f000n).map(Number),
      fc.nat(0xffff_ffff),
    );
    const flags = fc.oneof(fc.nat(7), fc.nat(0xffff_ffff));
    const property = fc.property(address, low, high, flags, (gva, lo, hi, flag) => {
      const [guest, twin] = [boot32(), boot32()];
      const args = [gva, lo, hi, flag];
      const expected = hypercall32(twin, Call.UPDATE_VA, ...args);
      // The list itself may become something else by it.
      fc.pre(typeof walk(twin.memory, twin.cpu.cr3, LIST, 'write', false) === 'number');
      expect(inMulticall(guest, args)).toBe(expected);
      expect(entryWords(guest)).toEqual(entryWords(twin));
      expect(guest.cpu.flushes).toEqual(twin.cpu.flushes);
      expect(guest.host.counters.get('hypercall.update_va_mapping')).toBe(1);
    });
    fc.assert(property, { seed: 14, numRuns: 40 });
  });

  it('is one of several, each with its result', () => {
    const guest = boot32();
    guest.host.isTraced = () => false;
    const frame = gpa(guest, MAPPED);
    const calls = [
      [Number(MAPPED), frame | PRESENT, 0],
      [0xf580_0000, frame | PRESENT, 0],
      [Number(MAPPED), 0, 0],
    ];
    calls.forEach((args, i) => {
      put(guest, LIST + BigInt(i * ENTRY_WORDS * 4), Call.UPDATE_VA, 0xdead, ...args, 0, 0, 0);
    });
    expect(hypercall32(guest, Call.MULTICALL, LIST, calls.length)).toBe(0);
    const results = calls.map((_, i) => guest.memory.read32(gpa(guest, LIST + BigInt(i * ENTRY_WORDS * 4 + 4))) | 0);
    expect(results).toEqual([0, -22, 0]);
    expect(entryWords(guest)).toEqual([0, 0]);
  });
});

describe('mmuext_op', () => {
  const ENTRY_BYTES = 12;
  const DONE = SCRATCH + 0x300n;
  const operation = fc.record({
    cmd: fc.oneof(fc.constantFrom(0, 1, 2, 4, 4, 5, 6, 7, 10, 11, 16), fc.nat(21), fc.nat(0xffff_ffff)),
    first: fc.oneof(
      fc.constantFrom('table', 'root', 'page', 'address').map((what) => ({ what })),
      fc.nat(0xffff_ffff).map((word) => ({ word })),
    ),
    second: fc.oneof(fc.nat(8), fc.nat(0xffff_ffff)),
  });
  const list = fc.record({
    operations: fc.array(operation, { maxLength: 5 }),
    more: fc.constantFrom(0, 0, 1, 0x8000_0000, 0x1_0000),
    done: fc.constantFrom(0, 0, Number(DONE), 0xf580_0000),
    domid: fc.constantFrom(DOMID_SELF, DOMID_SELF, DOMID_SELF, 0, 99),
  });
  type List = typeof list extends fc.Arbitrary<infer T> ? T : never;

  /** Frames that can become a table, or are one. */
  function places(guest: Booted32): Record<string, number> {
    const page = gpa(guest, MAPPED) >>> 12;
    return { table: entryOf(guest) >>> 12, root: Number(guest.cpu.cr3 >> 12n), page, address: Number(MAPPED) };
  }
  function run(guest: Booted32, { operations, more, done, domid }: List): readonly unknown[] {
    const known = places(guest);
    // A page that nothing maps can be pinned.
    hypercall32(guest, Call.UPDATE_VA, MAPPED, 0, 0, 0);
    guest.memory.fill(known.page << 12, 4096, 0);
    operations.forEach(({ cmd, first, second }, i) => {
      put(guest, SCRATCH + BigInt(i * ENTRY_BYTES), cmd, 'word' in first ? first.word : known[first.what], second);
    });
    put(guest, DONE, 0xdead);
    const result = hypercall32(guest, Call.MMUEXT, SCRATCH, operations.length + more, done, domid);
    const { cpu, host, memory } = guest;
    const told = walk(memory, cpu.cr3, DONE, 'read', false);
    const tables = [known.table, known.page].map((frame) =>
      Buffer.from(memory.readBytes(frame << 12, 4096)).toString('hex'),
    );
    return [
      result,
      typeof told === 'number' && memory.read32(told),
      cpu.cr3,
      cpu.flushes,
      cpu.roots,
      tables,
      counts(host.counters),
    ];
  }
  const counts = (counters: ReadonlyMap<string, number>) => [...counters].sort(([a], [b]) => (a < b ? -1 : 1));

  it('is the same in words, whoever makes it', () => {
    const property = fc.property(list, (given) => {
      const [guest, twin] = [boot32(), boot32()];
      guest.host.isTraced = () => false;
      expect(run(guest, given)).toEqual(run(twin, given));
    });
    fc.assert(property, { seed: 26, numRuns: 60 });
  });
});
