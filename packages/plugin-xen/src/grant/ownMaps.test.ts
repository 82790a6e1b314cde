import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { HypercallNumber } from '../hypercall/table.ts';
import { type Booted, boot, hypercall, KERNEL_PADDR, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';
import { GrantStatus } from './status.ts';

const SCRATCH = VIRT_BASE + KERNEL_PADDR + 0x2000n;
/** Pages of the initial mapping that nothing else uses: two that are granted, three whose entries mappings are put into. */
const page = (index: number) => VIRT_BASE + 0x4_0000n + BigInt(index * 4096);
const [FIRST, SECOND, HOLES] = [page(0), page(1), [page(2), page(3), page(4)]];
const Op = { MAP: 0, UNMAP: 1, SETUP: 2, REPLACE: 7, SET_VERSION: 8 } as const;
const Flag = { DEVICE: 1, HOST: 2, READONLY: 4, APPLICATION: 8, CONTAINS_PTE: 16 } as const;
const [P, RW] = [1n, 2n];
const EINVAL = -22n;
const EBUSY = -16n;
const FRAME = 0x000f_ffff_ffff_f000n;
/** References whose grants open FIRST and SECOND to be written, and SECOND to be read. */
const [REF_FIRST, REF_SECOND, REF_READ] = [8, 9, 10];

describe('a PV guest that maps its own grants', () => {
  let guest: Booted;
  let table: number;
  let mfns: Map<bigint, bigint>;

  const gpa = (gva: bigint) => walk(guest.memory, guest.cpu.cr3, gva, 'read', true) as number;
  const mapped = (gva: bigint) => {
    const found = walk(guest.memory, guest.cpu.cr3, gva, 'read', true);
    return typeof found === 'number' ? BigInt(found) >> 12n : undefined;
  };
  const isWritable = (gva: bigint) => typeof walk(guest.memory, guest.cpu.cr3, gva, 'write', true) === 'number';
  const put64 = (...values: bigint[]) =>
    values.forEach((value, i) => guest.memory.write64(gpa(SCRATCH) + i * 8, value));
  const op = (cmd: number) => hypercall(guest, HypercallNumber.GRANT_TABLE_OP, cmd, SCRATCH, 1);
  const status = (at: number) => (guest.memory.read16(gpa(SCRATCH) + at) << 16) >> 16;
  const update = (gva: bigint, value: bigint) => hypercall(guest, 14, gva, value, 0);
  /** MMUEXT_PIN_L1_TABLE and its end; the first shows that nothing maps a page to be written. */
  const mmuext = (cmd: bigint, mfn: bigint) => {
    put64(cmd, mfn, 0n);
    return hypercall(guest, 26, SCRATCH, 1, SCRATCH + 0x100n, 0x7ff0);
  };
  const pin = (mfn: bigint) => mmuext(0n, mfn);
  const map = (hostAddress: bigint, flags: number, ref: number, domid = 1) => {
    put64(hostAddress, BigInt(flags) | (BigInt(ref) << 32n), BigInt(domid), 0n);
    expect(op(Op.MAP)).toBe(0n);
    return {
      status: status(18),
      handle: guest.memory.read32(gpa(SCRATCH) + 20),
      bus: guest.memory.read64(gpa(SCRATCH) + 24),
    };
  };
  const unmap = (hostAddress: bigint, busAddress: bigint, handle: number) => {
    put64(hostAddress, busAddress, BigInt(handle));
    expect(op(Op.UNMAP)).toBe(0n);
    return status(20);
  };
  const replace = (hostAddress: bigint, newAddress: bigint, handle: number) => {
    put64(hostAddress, newAddress, BigInt(handle));
    expect(op(Op.REPLACE)).toBe(0n);
    return status(20);
  };
  const grantFlags = (ref: number) => guest.memory.read16(table + ref * 8);
  const l1Entry = (gva: bigint) => {
    let at = guest.cpu.cr3;
    for (const shift of [39n, 30n, 21n]) at = guest.memory.read64(Number(at + ((gva >> shift) & 511n) * 8n)) & FRAME;
    return at + ((gva >> 12n) & 511n) * 8n;
  };

  const start = () => {
    guest = boot();
    mfns = new Map([FIRST, SECOND].map((gva) => [gva, mapped(gva) as bigint]));
    put64(0x0000_0001_0000_7ff0n, 0n, SCRATCH + 0x200n);
    expect(op(Op.SETUP)).toBe(0n);
    table = Number(guest.memory.read64(gpa(SCRATCH + 0x200n))) * 4096;
    const grant = (ref: number, flags: number, gva: bigint) => {
      guest.memory.write32(table + ref * 8, flags | (1 << 16));
      guest.memory.write32(table + ref * 8 + 4, Number(mfns.get(gva)));
    };
    grant(REF_FIRST, 1, FIRST);
    grant(REF_SECOND, 1, SECOND);
    grant(REF_READ, 5, SECOND);
    // The pages' own mappings are read-only from here on, and the holes are empty.
    for (const [gva, mfn] of mfns) expect(update(gva, (mfn << 12n) | P)).toBe(0n);
    for (const gva of HOLES) expect(update(gva, 0n)).toBe(0n);
  };
  beforeEach(start);

  it('maps and unmaps, for itself and for devices, each once', () => {
    const mfn = mfns.get(FIRST) as bigint;
    const { status: mappedAs, handle, bus } = map(HOLES[0], Flag.HOST | Flag.DEVICE, REF_FIRST);
    expect([mappedAs, bus, mapped(HOLES[0])]).toEqual([GrantStatus.OKAY, mfn << 12n, mfn]);
    expect(isWritable(HOLES[0])).toBe(true);
    expect(grantFlags(REF_FIRST) & 0x18).toBe(0x18);
    expect(unmap(HOLES[0], 0n, handle)).toBe(GrantStatus.OKAY);
    expect(mapped(HOLES[0])).toBeUndefined();
    expect(pin(mfn)).toBe(EINVAL);
    expect(unmap(0n, (mfn << 12n) + 4096n, handle)).toBe(GrantStatus.GENERAL_ERROR);
    expect(unmap(0n, mfn << 12n, handle)).toBe(GrantStatus.OKAY);
    expect(unmap(0n, mfn << 12n, handle)).toBe(GrantStatus.BAD_HANDLE);
    expect(grantFlags(REF_FIRST) & 0x18).toBe(0);
    expect(pin(mfn)).toBe(0n);
  });

  it('maps to read what may only be read, and by the machine address of an entry', () => {
    const mfn = mfns.get(SECOND);
    expect(map(HOLES[0], Flag.HOST, REF_READ).status).toBe(GrantStatus.GENERAL_ERROR);
    const byEntry = Flag.HOST | Flag.READONLY | Flag.CONTAINS_PTE;
    const { status: mappedAs, handle } = map(l1Entry(HOLES[0]), byEntry, REF_READ);
    expect([mappedAs, mapped(HOLES[0]), isWritable(HOLES[0])]).toEqual([GrantStatus.OKAY, mfn, false]);
    expect(grantFlags(REF_READ) & 0x18).toBe(0x08);
    expect(unmap(l1Entry(HOLES[1]), 0n, handle)).toBe(GrantStatus.GENERAL_ERROR);
    expect(unmap(l1Entry(HOLES[0]), 0n, handle)).toBe(GrantStatus.OKAY);
    expect(map(l1Entry(HOLES[0]) + 4n, byEntry, REF_READ).status).toBe(GrantStatus.GENERAL_ERROR);
    expect(map(mfn as bigint, byEntry, REF_READ).status).toBe(GrantStatus.GENERAL_ERROR);
  });

  it('refuses what no grant or table is behind', () => {
    expect(map(HOLES[0], 0, REF_FIRST).status).toBe(GrantStatus.BAD_GNTREF);
    expect(map(HOLES[0], Flag.HOST, 512).status).toBe(GrantStatus.BAD_GNTREF);
    expect(map(HOLES[0], Flag.HOST, 11).status).toBe(GrantStatus.GENERAL_ERROR);
    expect(map(HOLES[0], Flag.HOST, REF_FIRST, 0x7ff0).status).toBe(GrantStatus.BAD_DOMAIN);
    expect(map(0xffff_8000_0000_0000n, Flag.HOST, REF_FIRST).status).toBe(GrantStatus.GENERAL_ERROR);
    expect(map(0x7000_0000_0000n, Flag.HOST | Flag.DEVICE, REF_FIRST).status).toBe(GrantStatus.GENERAL_ERROR);
    expect(grantFlags(REF_FIRST) & 0x18).toBe(0);
    expect(pin(mfns.get(FIRST) as bigint)).toBe(0n);
    expect(map(HOLES[0], Flag.HOST, REF_FIRST).status).toBe(GrantStatus.GENERAL_ERROR);
  });

  it('keeps its tables’ version while something is mapped', () => {
    const { handle } = map(HOLES[0], Flag.HOST, REF_FIRST);
    put64(2n);
    expect(op(Op.SET_VERSION)).toBe(EBUSY);
    expect(unmap(HOLES[0], 0n, handle)).toBe(GrantStatus.OKAY);
    put64(2n);
    expect(op(Op.SET_VERSION)).toBe(0n);
  });

  it('replaces a mapping by another entry, and knows its own by their rights (XSA-234)', () => {
    const [first, second] = [mfns.get(FIRST) as bigint, mfns.get(SECOND) as bigint];
    const written = map(HOLES[0], Flag.HOST, REF_FIRST);
    const read = map(HOLES[1], Flag.HOST | Flag.READONLY, REF_SECOND);
    expect(replace(HOLES[1], HOLES[1], read.handle)).toBe(GrantStatus.GENERAL_ERROR);
    expect(replace(HOLES[1], HOLES[0], read.handle)).toBe(GrantStatus.OKAY);
    expect([mapped(HOLES[0]), mapped(HOLES[1])]).toEqual([undefined, first]);
    expect(update(HOLES[0], (first << 12n) | P)).toBe(0n);
    expect(unmap(HOLES[0], 0n, written.handle)).toBe(GrantStatus.GENERAL_ERROR);
    expect(pin(first)).toBe(EINVAL);
    expect(pin(second)).toBe(0n);
    expect(unmap(HOLES[1], 0n, written.handle)).toBe(GrantStatus.OKAY);
    expect(pin(first)).toBe(0n);
  });

  it('never loses sight of a mapping to be written, whatever is asked for', () => {
    const address = fc.constantFrom(0n, ...HOLES, FIRST, SECOND, 0xffff_8000_0000_0000n, 0x1234n);
    const handle = fc.constantFrom(0, 1, 2, 3, 0xffff_ffff);
    const step = fc.oneof(
      fc.tuple(fc.constant('map' as const), address, fc.integer({ min: 0, max: 15 }), fc.constantFrom(8, 9, 10, 11)),
      fc.tuple(fc.constant('unmap' as const), address, fc.constantFrom(0n, 1n), handle),
      fc.tuple(fc.constant('replace' as const), address, address, handle),
      fc.tuple(fc.constant('update' as const), fc.constantFrom(...HOLES), fc.constantFrom(0n, P, P | RW), fc.boolean()),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
        start();
        const mfnOf = (isFirst: boolean) => mfns.get(isFirst ? FIRST : SECOND) as bigint;
        for (const [kind, a, b, c] of steps) {
          if (kind === 'map') map(a, b as number, c as number);
          else if (kind === 'unmap') unmap(a, b === 0n ? 0n : mfnOf(true) << 12n, c as number);
          else if (kind === 'replace') replace(a, b as bigint, c as number);
          else update(a, b === 0n ? 0n : (mfnOf(c as boolean) << 12n) | (b as bigint));
        }
        for (const gva of [FIRST, SECOND]) {
          const isPinned = pin(mfns.get(gva) as bigint) === 0n;
          const places = [...HOLES, FIRST, SECOND].filter((at) => mapped(at) === mfns.get(gva) && isWritable(at));
          if (isPinned) expect(places).toEqual([]);
          if (isPinned) mmuext(4n, mfns.get(gva) as bigint);
        }
        // Devices' mappings go, then the entries: nothing holds a page any more.
        for (let each = 0; each < 20; each++)
          for (const gva of [FIRST, SECOND]) unmap(0n, (mfns.get(gva) as bigint) << 12n, each);
        for (const gva of HOLES) update(gva, 0n);
        for (const [gva, mfn] of mfns) update(gva, (mfn << 12n) | P);
        for (const mfn of mfns.values()) {
          expect(pin(mfn)).toBe(0n);
          expect(mmuext(4n, mfn)).toBe(0n);
        }
      }),
      { numRuns: 60 },
    );
  });
});
