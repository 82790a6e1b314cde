import { type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';

/** ET. */
const CR0 = 0x10n;
const VECTOR_TABLE_LIMIT = 0x3ff;
const paragraph = (selector: number): Segment => ({
  selector,
  base: BigInt(selector * 16),
  limit: 0xffff,
  accessRights: 0x93,
});

/**
 * Real-address mode with the interrupt vectors at 0, interrupts off and no general register set: IP 0 in the code segment, all other
 * segments the data segment's.
 */
export function enterRealMode(vcpu: Vcpu, { code, data }: { readonly code: number; readonly data: number }): void {
  vcpu.efer = 0n;
  vcpu.cr4 = 0n;
  vcpu.cr3 = 0n;
  vcpu.cr0 = CR0;
  vcpu.tables.gdtr.base = 0n;
  vcpu.tables.gdtr.limit = 0;
  vcpu.tables.idtr.base = 0n;
  vcpu.tables.idtr.limit = VECTOR_TABLE_LIMIT;
  const { CS, DS, ES, SS, FS, GS } = SegmentIndex;
  vcpu.setSegment(CS, paragraph(code));
  for (const index of [DS, ES, SS, FS, GS]) vcpu.setSegment(index, paragraph(data));
  vcpu.cpl = 0;
  vcpu.rflags = 2n;
  vcpu.gpr.fill(0n);
  vcpu.rip = 0n;
}
