import type { KernelMember, OpContext, TypescriptOp, Vcpu } from '@polyvisor/plugin-api';

/** struct flush_tlb_info (Linux, arch/x86/include/asm/tlbflush.h): what every kernel that has the slot gives as the second argument. */
const INFO = 'flush_tlb_info';
/** As many pages as Linux flushes one by one (arch/x86/mm/tlb.c, tlb_single_page_flush_ceiling); of more, everything goes. */
const MOST_PAGES = 33n;
const PAGE = 4096n;
const PAGE_MASK = ~0xfffn;
const INTERRUPT_FLAG = 0x200;
const WORD_BYTES = 8;

/**
 * MMUEXT_INVLPG_MULTI and MMUEXT_TLB_FLUSH_MULTI: `void flush_tlb_multi(const struct cpumask *, const struct flush_tlb_info *)`.
 * Natively an interrupt goes to every processor of the mask, and the caller waits until each has flushed. Here all vCPUs are
 * flushed while they stand still, whatever the mask says, of the pages in every address space (with PTI there are two) or of
 * everything: more than was asked for, which is always right.
 *
 * The kernel does not learn of it: `tlb_gen` of the processors stays behind that of the address space. They flush once more
 * when they next switch to it or are sent a flush (Linux, arch/x86/mm/tlb.c, switch_mm_irqs_off, flush_tlb_func). Linux's own
 * operation for Xen leaves it so too (arch/x86/xen/mmu_pv.c, xen_flush_tlb_multi).
 */
export const flushMulti: TypescriptOp = (call) => {
  const { vcpus } = call.machine;
  // There is nobody else to ask.
  if (vcpus.length === 1) return undefined;
  const range = { start: call.member(INFO, 'start'), end: call.member(INFO, 'end') };
  // Without types it is not known what to flush.
  if (!range.start || !range.end) return 'native';
  if (vcpus.some((vcpu) => vcpu !== call.vcpu && hasInterruptsOff(vcpu))) return 'native';
  return flush(call, wordAt(call, range.start), wordAt(call, range.end));
};

/**
 * The interrupt has a second effect: it does not arrive while a processor has interrupts off, as those have that walk page tables
 * without a lock. When all have taken it, nobody looks any more at tables that are freed next (Linux, mm/gup.c, "Fast GUP").
 * Who has interrupts on now could have taken it now. Linux under Xen frees tables by RCU instead, which it is too late to ask
 * for here (pv_ops.mmu.tlb_remove_table).
 */
function hasInterruptsOff({ offline, blocked, eflags }: Vcpu): boolean {
  return !offline && !blocked && (eflags & INTERRUPT_FLAG) === 0;
}

/** A member of the second argument; `undefined`: it cannot be read. */
function wordAt(call: OpContext, member: KernelMember | undefined): bigint | undefined {
  if (!member || member.sizeBytes < 1 || member.sizeBytes > WORD_BYTES) return undefined;
  const found = call.vcpu.read(call.arg(1) + BigInt(member.offsetBytes), member.sizeBytes, { as: 'supervisor' });
  return found.ok ? found.bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n) : undefined;
}

/** `end` is beyond the last page, or TLB_FLUSH_ALL, all ones. The guest may say anything. */
function flush({ machine: { vcpus } }: OpContext, start: bigint | undefined, end: bigint | undefined): void {
  const first = start === undefined ? 0n : start & PAGE_MASK;
  const isFew = start !== undefined && end !== undefined && first < end && end - first <= MOST_PAGES * PAGE;
  for (const vcpu of vcpus) {
    if (!isFew) vcpu.flushTlb();
    else for (let gva = first; gva < end; gva += PAGE) vcpu.flushTlb(gva);
  }
}
