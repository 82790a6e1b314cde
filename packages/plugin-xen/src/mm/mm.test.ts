import { Gpr } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Booted, boot, hypercall, KERNEL_PADDR, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';

const SCRATCH = VIRT_BASE + KERNEL_PADDR + 0x2000n;
/** Pages of the initial mapping that nothing else uses. */
const SPARE = VIRT_BASE + 0x4_0000n;
const EINVAL = -22n;
const EBUSY = -16n;
const EPERM = -1n;
const P = 1n;
const RW = 2n;
const U = 4n;
const PTE_FRAME = 0x000f_ffff_ffff_f000n;

function gpa(guest: Booted, gva: bigint): number {
  const found = walk(guest.memory, guest.cpu.cr3, gva, 'read', true);
  if (typeof found !== 'number') throw new Error(`0x${gva.toString(16)} is not mapped`);
  return found;
}
function mfnOf(guest: Booted, gva: bigint): bigint {
  return BigInt(Math.floor(gpa(guest, gva) / 4096));
}
function spare(index: number): bigint {
  return SPARE + BigInt(index * 4096);
}
function put(guest: Booted, gva: bigint, values: readonly bigint[]): void {
  values.forEach((value, index) => {
    guest.memory.write64(gpa(guest, gva + BigInt(index * 8)), value);
  });
}

/** Machine address of the L1 entry that maps `gva`, by an independent walk. */
function l1Entry(guest: Booted, gva: bigint): bigint {
  let table = guest.cpu.cr3;
  for (const shift of [39n, 30n, 21n]) {
    table = guest.memory.read64(Number(table + ((gva >> shift) & 511n) * 8n)) & PTE_FRAME;
  }
  return table + ((gva >> 12n) & 511n) * 8n;
}
function mmuUpdate(guest: Booted, pointer: bigint, value: bigint, scratch = SCRATCH): bigint {
  put(guest, scratch, [pointer, value]);
  return hypercall(guest, 1, scratch, 1, 0, 0x7ff0);
}
function mmuext(guest: Booted, op: number, first: bigint, second = 0n): bigint {
  put(guest, SCRATCH, [BigInt(op), first, second]);
  return hypercall(guest, 26, SCRATCH, 1, SCRATCH + 0x100n, 0x7ff0);
}
function setReadOnly(guest: Booted, gva: bigint): void {
  expect(hypercall(guest, 14, gva, (mfnOf(guest, gva) << 12n) | P, 0)).toBe(0n);
}
/** A pinned, empty L1 table in a spare page. */
function pinnedTable(guest: Booted, index: number): { gva: bigint; mfn: bigint } {
  const gva = spare(index);
  const mfn = mfnOf(guest, gva);
  setReadOnly(guest, gva);
  expect(mmuext(guest, 0, mfn)).toBe(0n);
  return { gva, mfn };
}

describe('page types', () => {
  it('refuses a writable mapping of a page table, by either call', () => {
    const guest = boot();
    const l1 = l1Entry(guest, SCRATCH) & PTE_FRAME;
    expect(hypercall(guest, 14, spare(0), l1 | P | RW, 0)).toBe(EBUSY);
    expect(mmuUpdate(guest, l1Entry(guest, spare(0)), l1 | P | RW)).toBe(EBUSY);
    expect(hypercall(guest, 14, spare(0), l1 | P, 0)).toBe(0n);
  });

  it('refuses frames of the hypervisor and frames that do not exist', () => {
    const guest = boot();
    expect(hypercall(guest, 14, spare(0), (1n << 12n) | P, 0)).toBe(EBUSY);
    expect(hypercall(guest, 14, spare(0), (0x7f_ffffn << 12n) | P, 0)).toBe(EPERM);
    expect(hypercall(guest, 14, spare(0), PTE_FRAME | P, 0)).toBe(EINVAL);
  });

  it.each([0x08n, 0x10n, 0x80n])('refuses entry flag 0x%s', (flag) => {
    const guest = boot();
    expect(hypercall(guest, 14, spare(0), (mfnOf(guest, spare(0)) << 12n) | P | flag, 0)).toBe(EINVAL);
  });

  it('makes kernel pages user pages and remembers it in bit 52', () => {
    const guest = boot();
    const mfn = mfnOf(guest, spare(0)) << 12n;
    hypercall(guest, 14, spare(0), mfn | P | RW, 0);
    expect(guest.memory.read64(Number(l1Entry(guest, spare(0))))).toBe(mfn | P | RW | U | (1n << 52n));
    hypercall(guest, 14, spare(0), mfn | P | RW | U, 0);
    expect(guest.memory.read64(Number(l1Entry(guest, spare(0))))).toBe(mfn | P | RW | U | 0x100n);
  });

  it('pins a table only when nothing maps it writable, and validates what is in it', () => {
    const guest = boot();
    const mfn = mfnOf(guest, spare(1));
    expect(mmuext(guest, 0, mfn)).toBe(EINVAL);
    put(guest, spare(1), [(mfn << 12n) | P | RW]);
    setReadOnly(guest, spare(1));
    expect(mmuext(guest, 0, mfn)).toBe(EBUSY);
    expect(hypercall(guest, 14, spare(1), (mfn << 12n) | P | RW, 0)).toBe(0n);
    put(guest, spare(1), [(mfn << 12n) | P]);
    setReadOnly(guest, spare(1));
    expect(mmuext(guest, 0, mfn)).toBe(0n);
    expect(mmuext(guest, 0, mfn)).toBe(EINVAL);
    expect(mmuext(guest, 4, mfn)).toBe(0n);
    expect(mmuext(guest, 4, mfn)).toBe(EINVAL);
    expect(hypercall(guest, 14, spare(1), (mfn << 12n) | P | RW, 0)).toBe(0n);
  });

  it('lets a table be hung into an L2, and keeps the two types apart', () => {
    const guest = boot();
    const table = pinnedTable(guest, 2);
    let l2 = guest.cpu.cr3;
    for (const shift of [39n, 30n]) l2 = guest.memory.read64(Number(l2 + ((SPARE >> shift) & 511n) * 8n)) & PTE_FRAME;
    const slot = l2 + 100n * 8n;
    expect(mmuUpdate(guest, slot, (table.mfn << 12n) | P | RW)).toBe(0n);
    expect(mmuUpdate(guest, slot, (table.mfn << 12n) | P | RW | 0x80n)).toBe(EINVAL);
    expect(mmuUpdate(guest, slot, l2 | P | RW)).toBe(EINVAL);
    expect(mmuext(guest, 3, table.mfn)).toBe(EINVAL);
    expect(mmuext(guest, 4, table.mfn)).toBe(0n);
    expect(hypercall(guest, 14, table.gva, (table.mfn << 12n) | P | RW, 0)).toBe(EBUSY);
    expect(mmuUpdate(guest, slot, 0n)).toBe(0n);
    expect(hypercall(guest, 14, table.gva, (table.mfn << 12n) | P | RW, 0)).toBe(0n);
  });

  it('never lets the guest touch the hypervisor slots of a root', () => {
    const guest = boot();
    const root = guest.cpu.cr3;
    for (const slot of [256n, 260n, 271n]) expect(mmuUpdate(guest, root + slot * 8n, 0n)).toBe(EINVAL);
    expect(mmuUpdate(guest, root + 272n * 8n, 0n)).toBe(0n);
  });
});

describe('mmu_update', () => {
  it('keeps Accessed and Dirty when asked to', () => {
    const guest = boot();
    const entry = l1Entry(guest, spare(0));
    const mfn = mfnOf(guest, spare(0)) << 12n;
    expect(mmuUpdate(guest, entry, mfn | P | RW | 0x60n)).toBe(0n);
    expect(mmuUpdate(guest, entry | 2n, mfn | P | RW)).toBe(0n);
    expect(guest.memory.read64(Number(entry)) & 0x60n).toBe(0x60n);
    expect(mmuUpdate(guest, entry, mfn | P | RW)).toBe(0n);
    expect(guest.memory.read64(Number(entry)) & 0x60n).toBe(0n);
  });

  it('changes the machine-to-physical table of own frames only', () => {
    const guest = boot();
    const mfn = mfnOf(guest, spare(0));
    expect(mmuUpdate(guest, (mfn << 12n) | 1n, 0x1234n)).toBe(0n);
    expect(guest.memory.read64(gpa(guest, 0xffff_8000_0000_0000n + mfn * 8n))).toBe(0x1234n);
    expect(mmuUpdate(guest, (1n << 12n) | 1n, 0n)).toBe(EINVAL);
  });

  it('writes plainly into a page that is no table, counts what it did and stops at the first error', () => {
    const guest = boot();
    const target = mfnOf(guest, spare(3)) << 12n;
    put(guest, SCRATCH, [target | 0n, 0xabcdn, target + 8n, 0x1n, 5n, 0n, target + 16n, 2n]);
    expect(hypercall(guest, 1, SCRATCH, 4, SCRATCH + 0x100n, 0x7ff0)).toBe(-38n);
    expect(guest.memory.read32(gpa(guest, SCRATCH + 0x100n))).toBe(2);
    expect(guest.memory.read64(Number(target))).toBe(0xabcdn);
    expect(hypercall(guest, 1, SCRATCH, 1, 0, 3)).toBe(-3n);
    expect(hypercall(guest, 1, 0x10n, 1, 0, 0x7ff0)).toBe(-14n);
  });
});

describe('roots and TLB', () => {
  it('loads a new kernel root with a flush, and a user root when user mode is entered', () => {
    const guest = boot();
    const root = guest.cpu.cr3 >> 12n;
    expect(mmuext(guest, 5, root)).toBe(0n);
    expect(mmuext(guest, 15, root)).toBe(0n);
    expect(mmuext(guest, 5, mfnOf(guest, spare(0)))).toBe(EINVAL);
    expect(mmuext(guest, 15, 0n)).toBe(0n);
  });

  it('flushes everything, one page, and by mask', () => {
    const guest = boot();
    const { flushes } = guest.cpu;
    const count = flushes.length;
    expect(mmuext(guest, 6, 0n)).toBe(0n);
    expect(mmuext(guest, 7, 0x1000n)).toBe(0n);
    expect(mmuext(guest, 11, 0x2000n)).toBe(0n);
    put(guest, SCRATCH + 0x200n, [1n]);
    expect(mmuext(guest, 9, 0x3000n, SCRATCH + 0x200n)).toBe(0n);
    expect(mmuext(guest, 8, 0n, 0x10n)).toBe(EINVAL);
    expect(flushes.slice(count)).toEqual([undefined, 0x1000n, 0x2000n, 0x3000n]);
  });

  it('flushes a stale writable translation before the frame becomes a table', () => {
    const guest = boot();
    const count = guest.cpu.flushes.length;
    pinnedTable(guest, 4);
    expect(guest.cpu.flushes.slice(count)).toContain(undefined);
  });

  it('clears and copies pages that may be written', () => {
    const guest = boot();
    put(guest, spare(5), [42n]);
    expect(mmuext(guest, 17, mfnOf(guest, spare(6)), mfnOf(guest, spare(5)))).toBe(0n);
    expect(guest.memory.read64(gpa(guest, spare(6)))).toBe(42n);
    expect(mmuext(guest, 16, mfnOf(guest, spare(5)))).toBe(0n);
    expect(guest.memory.read64(gpa(guest, spare(5)))).toBe(0n);
    expect(mmuext(guest, 16, guest.cpu.cr3 >> 12n)).toBe(EINVAL);
    expect([12, 18, 19, 20, 99].map((op) => mmuext(guest, op, 0n))).toEqual([-13n, -13n, -95n, -95n, -38n]);
  });
});

describe('writable page tables', () => {
  const ENTRY_OFFSET = 8n * 9n;

  function faultingWrite(guest: Booted, table: bigint, code: readonly number[]): void {
    guest.cpu.rip = spare(8);
    guest.memory.writeBytes(gpa(guest, spare(8)), Uint8Array.from([...code, 0x90, 0x90, 0x90, 0x90]));
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 14, errorCode: 7, cr2: table + ENTRY_OFFSET });
  }

  function prepared(): { guest: Booted; table: bigint; entry: number; value: bigint } {
    const guest = boot();
    expect(hypercall(guest, 21, 0, 2)).toBe(0n);
    const { gva, mfn } = pinnedTable(guest, 7);
    return {
      guest,
      table: gva,
      entry: Number(mfn << 12n) + Number(ENTRY_OFFSET),
      value: (mfnOf(guest, spare(9)) << 12n) | P,
    };
  }

  const ADJUST = U | (1n << 52n);

  it('carries out MOV, XCHG, CMPXCHG, AND, BTR and STOS with the entry validated', () => {
    const { guest, table, entry, value } = prepared();
    const { cpu, memory } = guest;
    cpu.gpr[Gpr.RAX] = value;
    faultingWrite(guest, table, [0x48, 0x89, 0x03]); // mov [rbx], rax
    expect(memory.read64(entry)).toBe(value | ADJUST);
    expect(cpu.rip).toBe(spare(8) + 3n);
    cpu.gpr[Gpr.RCX] = value | 0x40n;
    faultingWrite(guest, table, [0x48, 0x87, 0x4b, 0x10]); // xchg [rbx+16], rcx
    expect(cpu.gpr[Gpr.RCX]).toBe(value | ADJUST);
    faultingWrite(guest, table, [0xf0, 0x80, 0x23, 0xbf]); // lock and byte [rbx], 0xbf
    expect(memory.read64(entry)).toBe(value | ADJUST);
    cpu.gpr[Gpr.RAX] = 1n;
    faultingWrite(guest, table, [0xf0, 0x48, 0x0f, 0xb1, 0x0b]); // lock cmpxchg [rbx], rcx: differs
    expect(cpu.gpr[Gpr.RAX]).toBe(value | ADJUST);
    expect(cpu.rflags & 0x40n).toBe(0n);
    faultingWrite(guest, table, [0x48, 0x0f, 0xba, 0x33, 0x05]); // btr qword [rbx], 5
    expect(cpu.rflags & 1n).toBe(0n);
    cpu.gpr[Gpr.RAX] = 0n;
    cpu.gpr[Gpr.RDI] = table + ENTRY_OFFSET;
    cpu.gpr[Gpr.RCX] = 2n;
    faultingWrite(guest, table, [0xf3, 0x48, 0xab]); // rep stosq: one element, RIP stays
    expect(memory.read64(entry)).toBe(0n);
    expect([cpu.gpr[Gpr.RCX], cpu.gpr[Gpr.RDI], cpu.rip]).toEqual([1n, table + ENTRY_OFFSET + 8n, spare(8)]);
  });

  it('reflects the fault when the entry is not allowed, the instruction unknown, or the assist off', () => {
    const { guest, table, entry } = prepared();
    guest.cpu.gpr[Gpr.RAX] = guest.cpu.cr3 | P | RW;
    faultingWrite(guest, table, [0x48, 0x89, 0x03]);
    expect(guest.memory.read64(entry)).toBe(0n);
    expect(guest.machine.ended).toMatchObject({ kind: 'crash' });
    const unknown = prepared();
    faultingWrite(unknown.guest, unknown.table, [0x0f, 0x11, 0x03]);
    expect(unknown.guest.machine.ended).toMatchObject({ kind: 'crash' });
    const off = prepared();
    hypercall(off.guest, 21, 1, 2);
    faultingWrite(off.guest, off.table, [0x48, 0x89, 0x03]);
    expect(off.guest.machine.ended).toMatchObject({ kind: 'crash' });
  });
});

describe('memory_op', () => {
  function reservation(guest: Booted, op: number, pages: readonly bigint[], order = 0n): bigint {
    put(guest, SCRATCH, [SCRATCH + 0x200n, BigInt(pages.length), order, 0x7ff0n]);
    put(guest, SCRATCH + 0x200n, pages);
    return hypercall(guest, 12, op, SCRATCH);
  }

  it('gives pages back and gets them again, up to the maximum', () => {
    const guest = boot();
    put(guest, SCRATCH, [0x7ff0n]);
    const pages = hypercall(guest, 12, 3, SCRATCH);
    expect(pages).toBe(2048n);
    const mfn = mfnOf(guest, VIRT_BASE) + 2047n;
    expect(reservation(guest, 1, [mfn])).toBe(1n);
    expect(reservation(guest, 1, [mfn])).toBe(0n);
    expect(reservation(guest, 6, [0x777n, 0x778n])).toBe(1n);
    const fresh = guest.memory.read64(gpa(guest, SCRATCH + 0x200n));
    expect(guest.memory.read64(gpa(guest, 0xffff_8000_0000_0000n + fresh * 8n))).toBe(0x777n);
    put(guest, SCRATCH, [0x7ff0n]);
    expect(hypercall(guest, 12, 4, SCRATCH)).toBe(2048n);
    expect(reservation(guest, 1, [1n, mfn])).toBe(0n);
  });

  it('exchanges an unmapped frame and refuses a mapped one', () => {
    const guest = boot();
    const mfn = mfnOf(guest, VIRT_BASE) + 2040n;
    const list = (given: bigint): void => {
      const half = (at: bigint): readonly bigint[] => [at, 1n, 0n, 0x7ff0n];
      put(guest, SCRATCH, [...half(SCRATCH + 0x200n), ...half(SCRATCH + 0x208n), 0n]);
      put(guest, SCRATCH + 0x200n, [given, 0x600n]);
    };
    list(mfn);
    expect(hypercall(guest, 12, 11, SCRATCH)).toBe(0n);
    expect(guest.memory.read64(gpa(guest, SCRATCH + 64n))).toBe(1n);
    expect(guest.memory.read64(gpa(guest, SCRATCH + 0x208n))).not.toBe(0x600n);
    list(mfnOf(guest, spare(0)));
    expect(hypercall(guest, 12, 11, SCRATCH)).toBe(EINVAL);
  });

  it('describes memory: one RAM range, the place of the M2P, and no physmap of a PV guest', () => {
    const guest = boot();
    put(guest, SCRATCH, [8n, SCRATCH + 0x200n]);
    expect(hypercall(guest, 12, 9, SCRATCH)).toBe(0n);
    expect(guest.memory.read32(gpa(guest, SCRATCH))).toBe(1);
    expect(guest.memory.read64(gpa(guest, SCRATCH + 0x208n))).toBe(8n << 20n);
    expect(hypercall(guest, 12, 12, SCRATCH)).toBe(0n);
    expect(guest.memory.read64(gpa(guest, SCRATCH))).toBe(0xffff_8000_0000_0000n);
    expect([7, 15, 23, 10, 13, 60].map((op) => hypercall(guest, 12, op, SCRATCH))).toEqual([
      -13n,
      -13n,
      -13n,
      -1n,
      -1n,
      -38n,
    ]);
  });
});

describe('hostile arguments', () => {
  const word = fc.oneof(
    fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    fc.bigInt({ min: 0n, max: 0x1000n }),
    fc.bigInt({ min: 0n, max: 0x2000n }).map((offset) => SCRATCH + offset),
    fc.bigInt({ min: 0n, max: 0x3000n }).map((mfn) => (mfn << 12n) | 3n),
    fc.constantFrom(0x7ff0n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_fff8n),
  );

  it('never throw, and never leave a page table writable', () => {
    const call = fc.tuple(
      fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 9, 10, 12, 14, 21, 22, 25, 26, 30, 33),
      fc.array(word, { minLength: 6, maxLength: 6 }),
      fc.array(word, { maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(call, { maxLength: 12 }), (calls) => {
        const guest = boot();
        for (const [number, args, scratch] of calls) {
          if (typeof walk(guest.memory, guest.cpu.cr3, SCRATCH, 'write', true) !== 'number') return;
          put(guest, SCRATCH, scratch);
          hypercall(guest, number, ...args);
        }
        const root = guest.cpu.cr3;
        const entry = l1Entry(guest, SPARE);
        const l1 = entry & PTE_FRAME;
        for (const table of [root, l1]) expect(hypercall(guest, 14, spare(0), table | P | RW, 0)).not.toBe(0n);
      }),
      { numRuns: 60, seed: 4711 },
    );
  });
});
