import { type GuestMemory, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';

/** Below the conventional memory that firmware and boot sector use; all of it is free again once the kernel runs. */
const GDT_AT = 0x1000;
const PML4_AT = 0x2000;
const PDPT_AT = 0x3000;
/** Four page directories of 2-MiB pages. */
const DIRECTORIES_AT = 0x4000;
const MAPPED_GIB = 4;
/** The stack grows down from here. */
const STACK_TOP = 0x9000n;
/** What lies below is taken by these tables. */
export const FLAT_LONG_MODE_END = 0x9000;

const PRESENT_WRITABLE = 3n;
const LARGE_PAGE = 0x80n;
const PAGE = 4096;
const TWO_MIB = 0x200000n;

/** __BOOT_CS and __BOOT_DS. */
const CODE = { selector: 0x10, descriptor: 0x00af9b000000ffffn, accessRights: 0xa09b } as const;
const DATA = { selector: 0x18, descriptor: 0x00cf93000000ffffn, accessRights: 0xc093 } as const;
const GDT_LIMIT = 0x1f;

/** PG, ET, PE. */
const CR0 = 0x80000011n;
const CR4_PAE = 0x20n;
/** LME, LMA. */
const EFER = 0x500n;

/**
 * 64-bit mode at CPL 0 with flat segments, interrupts off and the first 4 GiB mapped to themselves
 * (Linux, Documentation/arch/x86/boot.rst, "64-bit Boot Protocol").
 */
export function enterFlatLongMode(memory: GuestMemory, vcpu: Vcpu): void {
  memory.write64(PML4_AT, BigInt(PDPT_AT) | PRESENT_WRITABLE);
  for (let gib = 0; gib < MAPPED_GIB; gib++) {
    const directory = DIRECTORIES_AT + gib * PAGE;
    memory.write64(PDPT_AT + gib * 8, BigInt(directory) | PRESENT_WRITABLE);
    for (let i = 0; i < 512; i++) {
      memory.write64(directory + i * 8, (BigInt(gib * 512 + i) * TWO_MIB) | LARGE_PAGE | PRESENT_WRITABLE);
    }
  }
  memory.write64(GDT_AT + CODE.selector, CODE.descriptor);
  memory.write64(GDT_AT + DATA.selector, DATA.descriptor);
  vcpu.tables.gdtr.base = BigInt(GDT_AT);
  vcpu.tables.gdtr.limit = GDT_LIMIT;
  vcpu.tables.idtr.base = 0n;
  vcpu.tables.idtr.limit = 0;
  vcpu.efer = EFER;
  vcpu.cr4 = CR4_PAE;
  vcpu.cr3 = BigInt(PML4_AT);
  vcpu.cr0 = CR0;
  vcpu.setSegment(SegmentIndex.CS, flat(CODE));
  for (const index of [SegmentIndex.DS, SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.FS, SegmentIndex.GS]) {
    vcpu.setSegment(index, flat(DATA));
  }
  vcpu.cpl = 0;
  vcpu.rflags = 2n;
  vcpu.gpr.fill(0n);
  vcpu.gpr[4] = STACK_TOP;
}

const flat = ({ selector, accessRights }: { selector: number; accessRights: number }): Segment => ({
  selector,
  base: 0n,
  limit: 0xffffffff,
  accessRights,
});
