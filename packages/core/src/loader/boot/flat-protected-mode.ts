import { type GuestMemory, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';

/** Below the conventional memory that boot sectors use; free again once the kernel runs. */
const GDT_AT = 0x1000;
const GDT_LIMIT = 0x1f;

/** __BOOT_CS and __BOOT_DS: flat, 32-bit, accessed (SDM vol. 3A, 3.4.5). */
const CODE = { selector: 0x10, descriptor: 0x00cf9b000000ffffn, accessRights: 0xc09b } as const;
const DATA = { selector: 0x18, descriptor: 0x00cf93000000ffffn, accessRights: 0xc093 } as const;

/** ET, PE. */
const CR0 = 0x11n;

const flat = ({ selector, accessRights }: { selector: number; accessRights: number }): Segment => ({
  selector,
  base: 0n,
  limit: 0xffffffff,
  accessRights,
});

/**
 * 32-bit protected mode at CPL 0 with flat segments from a GDT at 0x1000, paging and interrupts off, all general
 * registers 0. Linux (Documentation/arch/x86/boot.rst, "32-bit Boot Protocol") wants these selectors; Multiboot
 * (0.6.96, 3.2) wants such segments and leaves the selectors open.
 */
export function enterFlatProtectedMode(memory: GuestMemory, vcpu: Vcpu): void {
  memory.write64(GDT_AT + CODE.selector, CODE.descriptor);
  memory.write64(GDT_AT + DATA.selector, DATA.descriptor);
  vcpu.tables.gdtr.base = BigInt(GDT_AT);
  vcpu.tables.gdtr.limit = GDT_LIMIT;
  vcpu.tables.idtr.base = 0n;
  vcpu.tables.idtr.limit = 0;
  vcpu.efer = 0n;
  vcpu.cr4 = 0n;
  vcpu.cr3 = 0n;
  vcpu.cr0 = CR0;
  vcpu.setSegment(SegmentIndex.CS, flat(CODE));
  for (const index of [SegmentIndex.DS, SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.FS, SegmentIndex.GS]) {
    vcpu.setSegment(index, flat(DATA));
  }
  vcpu.cpl = 0;
  vcpu.rflags = 2n;
  vcpu.gpr.fill(0n);
}
