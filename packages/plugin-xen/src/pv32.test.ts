/** A 32-bit PV guest's calls, page-table rules and frames, through INT 0x82 as its kernel makes them. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { PV32 } from './abi/model.ts';
import { safeDescriptor } from './cpu/descriptorCheck.ts';
import { type Booted32, boot32, hypercall32, KERNEL_PADDR_32, VIRT_BASE_32 } from './testing/guest32.ts';
import { walk } from './testing/walk.ts';

const SCRATCH = VIRT_BASE_32 + KERNEL_PADDR_32 + 0x2000n;
const CODE = VIRT_BASE_32 + KERNEL_PADDR_32;
const EINVAL = -22;
const EPERM = -1;
const Call = {
  TRAP_TABLE: 0,
  MMU_UPDATE: 1,
  CALLBACKS: 4,
  DESCRIPTOR: 10,
  UPDATE_VA: 14,
  ASSIST: 21,
  IRET: 23,
  MMUEXT: 26,
};
const PIN_L2 = 1;
const PIN_L3 = 2;
const PRESENT_WRITE = 3;

let guest: Booted32;
beforeEach(() => {
  guest = boot32();
});

const gpa = (gva: bigint) => walk(guest.memory, guest.cpu.cr3, gva, 'read', false) as number;
const put = (gva: bigint, ...words: number[]) => {
  words.forEach((word, index) => {
    guest.memory.write32(gpa(gva + BigInt(index * 4)), word >>> 0);
  });
};
const call = (number: number, ...args: (bigint | number)[]) => hypercall32(guest, number, ...args);
const mmuUpdate = (pointer: number, lo: number, hi = 0) => {
  put(SCRATCH, pointer, 0, lo, hi);
  return call(Call.MMU_UPDATE, SCRATCH, 1, 0, 0x7ff0);
};
const mmuext = (cmd: number, first: number, second = 0) => {
  put(SCRATCH, cmd, first, second);
  return call(Call.MMUEXT, SCRATCH, 1, 0, 0x7ff0);
};
/** Machine address of the guest's L3 table, of the L2 over an address, and of the L1 entry that maps it. */
const rootGpa = () => guest.memory.read32(Number(guest.cpu.cr3) | 0) & ~0xfff;
const l2Gpa = (gva: bigint) => guest.memory.read32(rootGpa() + Number(gva >> 30n) * 8) & ~0xfff;
const l1EntryGpa = (gva: bigint) => {
  const l1 = guest.memory.read32(l2Gpa(gva) + Number((gva >> 21n) & 511n) * 8) & ~0xfff;
  return l1 + Number((gva >> 12n) & 511n) * 8;
};
/** A page of the guest's that nothing maps, to become a page table. */
const unmap = (gva: bigint) => {
  const frame = gpa(gva);
  guest.memory.fill(frame, 4096, 0);
  expect(call(Call.UPDATE_VA, gva, 0, 0, 0)).toBe(0);
  return frame;
};
const FREE_A = VIRT_BASE_32 + 0x3f_e000n;
const FREE_B = VIRT_BASE_32 + 0x3f_d000n;

describe('page tables of three levels', () => {
  it('change by update_va_mapping, whose entry comes in two registers', () => {
    const frame = gpa(FREE_A);
    expect(call(Call.UPDATE_VA, FREE_A, frame | 1, 0x8000_0000, 2)).toBe(0);
    expect([guest.memory.read32(l1EntryGpa(FREE_A)), guest.memory.read32(l1EntryGpa(FREE_A) + 4)]).toEqual([
      frame | 1,
      0x8000_0000,
    ]);
    expect(call(Call.UPDATE_VA, 0xf580_0000, frame | 1, 0, 0)).toBe(EINVAL);
  });

  it('keep the U/S bit of an entry as the guest gave it', () => {
    expect(mmuUpdate(l1EntryGpa(FREE_A), gpa(FREE_A) | PRESENT_WRITE)).toBe(0);
    expect(guest.memory.read32(l1EntryGpa(FREE_A)) & 4).toBe(0);
  });

  it('never map a page table writable', () => {
    expect(call(Call.UPDATE_VA, FREE_A, l2Gpa(VIRT_BASE_32) | PRESENT_WRITE, 0, 0)).toBeLessThan(0);
    expect(call(Call.UPDATE_VA, FREE_A, l2Gpa(VIRT_BASE_32) | 1, 0, 0)).toBe(0);
  });

  it('do not let the guest into the hole, nor move it', () => {
    const top = l2Gpa(0xc000_0000n);
    expect(mmuUpdate(top + 428 * 8, gpa(FREE_A) | 1)).toBe(EPERM);
    expect(mmuUpdate(top + 427 * 8, 0)).toBe(0);
    expect(mmuUpdate(rootGpa() + 3 * 8, 0)).toBe(EINVAL);
    expect(mmuUpdate(rootGpa() + 4 * 8, 0)).toBe(EINVAL);
  });

  it('have a root with a fourth entry, whose table hangs nowhere else', () => {
    const root = unmap(FREE_A);
    const top = unmap(FREE_B);
    expect(mmuext(PIN_L3, root / 4096)).toBe(EINVAL);
    guest.memory.write32(root + 24, top | 1);
    guest.memory.write32(root + 4 * 8, 0xffff_ffff);
    expect(mmuext(PIN_L3, root / 4096)).toBe(0);
    // Xen's rights while it is a table; what lies behind the fourth entry is gone, and the hole is there.
    expect(guest.memory.read32(root + 24)).toBe(top | 7);
    expect(guest.memory.read32(root + 32)).toBe(0);
    expect(guest.memory.read32(top + 428 * 8) & 1).toBe(1);
    expect(mmuext(4, root / 4096)).toBe(0);
    expect(guest.memory.read32(root + 24)).toBe(top | 1);
    guest.memory.write32(root + 24, l2Gpa(0xc000_0000n) | 1);
    expect(mmuext(PIN_L3, root / 4096)).toBe(EINVAL);
  });

  it('keep a pinned L2 table out of the fourth entry, and rights out of the root', () => {
    const root = unmap(FREE_A);
    const top = unmap(FREE_B);
    expect(mmuext(PIN_L2, top / 4096)).toBe(0);
    guest.memory.write32(root + 24, top | 1);
    expect(mmuext(PIN_L3, root / 4096)).toBe(EINVAL);
    guest.memory.write32(root + 24, 0);
    expect(mmuext(4, top / 4096)).toBe(0);
    guest.memory.write32(root + 24, top | 1);
    guest.memory.write32(root + 28, 0x8000_0000);
    expect(mmuext(PIN_L3, root / 4096)).toBe(EINVAL);
  });

  it('carry out a kernel’s direct writes: MOV of a half, CMPXCHG8B of a whole entry', () => {
    expect(call(Call.ASSIST, 0, 2)).toBe(0);
    const window = FREE_B;
    const entry = l1EntryGpa(FREE_A);
    expect(call(Call.UPDATE_VA, window, (entry & ~0xfff) | 1, 0, 0)).toBe(0);
    const at = window + BigInt(entry & 0xfff);
    const frame = gpa(FREE_A);
    const write = (code: number[]) => {
      code.forEach((byte, index) => {
        guest.memory.write8(gpa(CODE) + index, byte);
      });
      guest.cpu.rip = CODE;
      guest.host.exit(guest.cpu, { kind: 'exception', vector: 14, errorCode: 3, cr2: at });
      return guest.cpu.rip - CODE;
    };
    guest.cpu.gpr[2] = BigInt(frame | 1);
    expect(write([0x89, 0x10])).toBe(2n); // mov [eax], edx
    expect(guest.memory.read32(entry)).toBe(frame | 1);
    guest.cpu.gpr[0] = BigInt(frame | 1);
    guest.cpu.gpr[2] = 0n;
    guest.cpu.gpr[3] = BigInt(frame | 0x21);
    guest.cpu.gpr[1] = 0x8000_0000n;
    expect(write([0xf0, 0x0f, 0xc7, 0x0e])).toBe(4n); // lock cmpxchg8b [esi]
    expect([guest.memory.read32(entry), guest.memory.read32(entry + 4)]).toEqual([frame | 0x21, 0x8000_0000]);
    expect((guest.cpu.rflags >> 6n) & 1n).toBe(1n);
  });
});

describe('entering and leaving the kernel', () => {
  const HANDLER = 0xc010_0800;
  const stackWords = (count: number) =>
    Array.from({ length: count }, (_, index) => guest.memory.read32(gpa(guest.cpu.gpr[4] + BigInt(index * 4))));

  it('pushes error code, EIP, CS with the upcall mask, EFLAGS', () => {
    put(SCRATCH, 13 | (4 << 8) | (0xe018 << 16), HANDLER, 0, 0);
    expect(call(Call.TRAP_TABLE, SCRATCH)).toBe(0);
    guest.cpu.rip = CODE;
    const esp = guest.cpu.gpr[4];
    guest.host.exit(guest.cpu, { kind: 'exception', vector: 13, errorCode: 0x18 });
    expect([guest.cpu.rip, guest.cpu.gpr[4], guest.cpu.cpl]).toEqual([BigInt(HANDLER), esp - 16n, 1]);
    expect(guest.cpu.segment(1).selector).toBe(0xe019);
    const [error, eip, cs, flags] = stackWords(4);
    expect([error, eip, cs]).toEqual([0x18, Number(CODE), 0xe019 | (1 << 16)]);
    expect(flags & 0x200).toBe(0);
  });

  it('goes to user mode by the iret call and comes back on the kernel’s stack', () => {
    put(SCRATCH, 0x80 | (3 << 8) | (0xe019 << 16), HANDLER, 0, 0);
    expect(call(Call.TRAP_TABLE, SCRATCH)).toBe(0);
    const top = SCRATCH + 0x800n;
    expect(call(3, 0xe021, top)).toBe(0);
    const frame = SCRATCH + 0x100n;
    put(frame, 0x1234, Number(CODE), 0xe02b, 0x202, 0x5000, 0xe033);
    guest.cpu.gpr[4] = frame;
    call(Call.IRET);
    expect([guest.cpu.cpl, guest.cpu.rip, guest.cpu.gpr[0], guest.cpu.gpr[4]]).toEqual([3, CODE, 0x1234n, 0x5000n]);
    // A hypercall vector is nothing special there.
    expect(guest.host.exit(guest.cpu, { kind: 'softwareInterrupt', vector: 0x82, instructionLength: 2 })).toEqual({
      fault: 13,
      errorCode: (0x82 << 3) | 2,
    });
    guest.host.exit(guest.cpu, { kind: 'softwareInterrupt', vector: 0x80, instructionLength: 2 });
    expect([guest.cpu.cpl, guest.cpu.gpr[4]]).toEqual([1, top - 20n]);
    expect(stackWords(5)).toEqual([Number(CODE) + 2, 0xe02b, 0x202, 0x5000, 0xe033]);
  });

  it('refuses to return to CPL 0 or to virtual-8086 mode', () => {
    put(SCRATCH, 13 | (0xe019 << 16), HANDLER, 0, 0);
    expect(call(Call.TRAP_TABLE, SCRATCH)).toBe(0);
    for (const [cs, flags] of [
      [0xe018, 0x202],
      [0xe019, 0x2_0202],
    ]) {
      guest.cpu.gpr[4] = SCRATCH + 0x100n;
      put(guest.cpu.gpr[4], 0, Number(CODE), cs, flags);
      call(Call.IRET);
      expect([guest.cpu.cpl, guest.cpu.rip]).toEqual([1, BigInt(HANDLER)]);
    }
  });

  it('knows handlers by selector and offset', () => {
    const shared = guest.memory.read32(gpa(guest.cpu.gpr[6]) + 36);
    expect(call(Call.CALLBACKS, 0xe019, HANDLER, 0xe019, HANDLER + 16)).toBe(0);
    guest.memory.write8(shared + 1, 0);
    guest.memory.write8(shared, 1);
    guest.host.call('beforeEntry', guest.cpu);
    expect(guest.cpu.rip).toBe(BigInt(HANDLER));
    expect(guest.memory.read8(shared + 1)).toBe(1);
  });
});

describe('descriptors', () => {
  const hi = (rights: number) => rights << 8;
  it('get at least DPL 1; flat ones reach to 4 GiB; 64-bit code and gates of the guest’s own are refused', () => {
    expect(safeDescriptor(0xffff, hi(0x9b) | 0xc0_0000, PV32)).toEqual({ lo: 0xffff, hi: hi(0xbb) | 0xc0_0000 });
    expect(safeDescriptor(0x67ff, hi(0xf3) | 0xcf_0000, PV32)).toEqual({ lo: 0xffff, hi: hi(0xf3) | 0xcf_0000 });
    expect(safeDescriptor(0xffff, hi(0xfb) | 0xa0_0000, PV32)).toBeUndefined();
    expect(safeDescriptor(0, hi(0x8e), PV32)).toBeUndefined();
  });

  it('change by a machine address and a descriptor in four registers', () => {
    const frame = unmap(FREE_A);
    expect(call(Call.DESCRIPTOR, frame + 8, 0, 0xffff, hi(0x93) | 0xcf_0000)).toBe(0);
    expect([guest.memory.read32(frame + 8), guest.memory.read32(frame + 12)]).toEqual([
      0xffff,
      (hi(0xb3) | 0xcf_0000) >>> 0,
    ]);
  });
});

describe('hostile 32-bit calls', () => {
  const word = fc.oneof(
    fc.nat(48),
    fc.nat(0xffff_ffff),
    fc.nat(0x1000).map((offset) => Number(SCRATCH) + offset),
    fc.nat(0xc00).map((mfn) => (mfn << 12) | 7),
    fc.nat(0xc00),
    fc.constantFrom(0xf580_0000, 0xffff_fff8, 0x7ff0, 0xc000_0000),
  );
  const action = fc.record({
    number: fc.constantFrom(0, 1, 2, 3, 4, 5, 8, 9, 10, 12, 13, 14, 20, 21, 22, 23, 24, 25, 26, 29, 30, 32, 33),
    args: fc.array(word, { minLength: 6, maxLength: 6 }),
    scratch: fc.array(word, { minLength: 12, maxLength: 24 }),
    stack: fc.boolean(),
  });

  it('never throw, and never give the guest the hypervisor’s frames or a writable page table', () => {
    fc.assert(
      fc.property(fc.array(action, { maxLength: 12 }), (actions) => {
        guest = boot32();
        for (const { number, args, scratch, stack } of actions) {
          for (const [index, value] of scratch.entries()) {
            const at = walk(guest.memory, guest.cpu.cr3, SCRATCH + BigInt(index * 4), 'write', false);
            if (typeof at === 'number') guest.memory.write32(at, value >>> 0);
          }
          if (stack) guest.cpu.gpr[4] = SCRATCH;
          if (guest.cpu.cpl === 3) break;
          call(number, Number(SCRATCH), ...args.slice(1));
          call(number, ...args);
        }
        expect(writableTables(guest)).toEqual([]);
      }),
      { seed: 32, numRuns: 40 },
    );
  });
});

/** Tables and hypervisor's frames that the guest's tables map writable, by walking all that the CPU would. */
function writableTables({ memory, cpu }: Booted32): number[] {
  const tables = new Set<number>();
  const writable = new Set<number>();
  const visit = (table: number, level: number, slots: number) => {
    tables.add(table);
    for (let slot = 0; slot < slots; slot++) {
      const entry = memory.read32(table + slot * 8);
      if ((entry & 1) === 0) continue;
      const target = entry & ~0xfff;
      if (level > 1) visit(target, level - 1, 512);
      else if ((entry & 2) !== 0) writable.add(target);
    }
  };
  visit(memory.read32(Number(cpu.cr3)) & ~0xfff, 3, 512);
  return [...tables].filter((table) => writable.has(table));
}
