import type { CodeOp, CodePlace, ExitKind, TypescriptOp, TypescriptOps } from '@polyvisor/plugin-api';
import { schedClock } from './clock.ts';
import { assemble, at, to } from './code.ts';
import { flushMulti } from './flush-multi.ts';

const INTERRUPT_FLAG = 0x200;
const RET = [0xc3];
const ONE_BYTE = 1;
/** REX.W (SDM vol. 2A, 2.2.1.2). */
const wide = ({ wordBytes }: CodePlace) => (wordBytes === 8 ? [0x48] : []);

/** Of the kernel's own instructions; where they do not leave guest code, there is nothing quicker. */
const INTERRUPT_EXITS: readonly ExitKind[] = ['cli', 'sti'];

/** evtchn_upcall_mask, here the cell `interruptsOff`: a byte is written, and nothing leaves. */
const disable: CodeOp = {
  avoids: INTERRUPT_EXITS,
  // mov byte [off], 1
  code: (place) => assemble(place, [[0xc6, 0x05], at(place.cells.interruptsOff, ONE_BYTE), [1], RET]),
};
/** As Linux does it under Xen: unmask, then look whether something has come meanwhile. */
const enable: CodeOp = {
  avoids: INTERRUPT_EXITS,
  code: (place) =>
    assemble(place, [
      // mov byte [off], 0
      ...[[0xc6, 0x05], at(place.cells.interruptsOff, ONE_BYTE), [0]],
      // cmp byte [waits], 0
      ...[[0x80, 0x3d], at(place.cells.interruptWaits, ONE_BYTE), [0]],
      // jne trap
      ...[[0x0f, 0x85], to(place.trap)],
      RET,
    ]),
  trap: ({ vcpu }) => {
    vcpu.eflags |= INTERRUPT_FLAG;
  },
};
/** The interrupt flag alone, as under Xen; callers look at no other, and RAX is all that may change. */
const saveFlags: CodeOp = {
  avoids: INTERRUPT_EXITS,
  code: (place) =>
    assemble(place, [
      // xor eax, eax
      [0x31, 0xc0],
      // cmp byte [off], 0
      ...[[0x80, 0x3d], at(place.cells.interruptsOff, ONE_BYTE), [0]],
      // sete ah; add ah, ah
      [0x0f, 0x94, 0xc4, 0x00, 0xe4],
      RET,
    ]),
};

/** arch.cr2 of vcpu_info: what a page fault has left, read without an exit. It comes with the flag, as the cells do. */
const readCr2: CodeOp = {
  avoids: [...INTERRUPT_EXITS, 'readCr'],
  // mov rax, [cr2]
  code: (place) => assemble(place, [wide(place), [0x8b, 0x05], at(place.cells.cr2), RET]),
};

/** Straight to the host. */
// jmp trap
const leave: CodeOp['code'] = (place) => assemble(place, [[0xe9], to(place.trap)]);
const hypercall = (avoids: readonly ExitKind[], trap: TypescriptOp): CodeOp => ({ avoids, code: leave, trap });

/** SCHEDOP_block: interrupts on and asleep at once, so that none comes in between and is slept through; natively two exits. */
const safeHalt = hypercall(['sti', 'hlt'], ({ vcpu }) => {
  vcpu.eflags |= INTERRUPT_FLAG;
  vcpu.blocked = true;
});

/** Page tables are writable, with or without lazy mode: an entry is stored, and no exit has to carry it anywhere. */
// mov [rdi], rsi
const store: CodeOp['code'] = (place) => assemble(place, [[0x48, 0x89, 0x37], RET]);
/** An entry of PAE, the half with the present bit last; 32-bit kernels without PAE have no room for ops (PV5011). */
// mov [eax+4], ecx; mov [eax], edx
const storeHalves: CodeOp['code'] = (place) => assemble(place, [[0x89, 0x48, 0x04, 0x89, 0x10], RET]);
/** A store does not leave natively either: it comes with what there is to tell of page tables, and not without. */
const TABLE_EXITS: readonly ExitKind[] = ['writeCr', 'invlpg'];
const setPte: CodeOp = {
  avoids: TABLE_EXITS,
  code: (place) => (place.wordBytes === 8 ? store : storeHalves)(place),
};
const setPmd: CodeOp = { avoids: TABLE_EXITS, code: store };
const setPud: CodeOp = { avoids: TABLE_EXITS, code: store };

/** MMUEXT_NEW_BASEPTR. */
const writeCr3 = hypercall(['writeCr'], (call) => {
  call.vcpu.cr3 = call.arg(0);
});
/** MMUEXT_TLB_FLUSH_LOCAL: natively CR3 is read and written, two exits. */
const flushUser = hypercall(['readCr', 'writeCr'], ({ vcpu }) => {
  const { cr3 } = vcpu;
  vcpu.cr3 = cr3;
});
/** With global pages: natively CR4.PGE is cleared and set, which always leaves. */
const flushKernel: TypescriptOp = ({ vcpu }) => vcpu.flushTlb();
/** MMUEXT_INVLPG_LOCAL. */
const flushOne = hypercall(['invlpg'], (call) => call.vcpu.flushTlb(call.arg(0)));

/**
 * What slots are called in a kernel without types: after the functions that they hold. Such are Debian's 32-bit kernels, whose
 * tables since 5.9 have neither the flag nor CR3 nor page-table entries in them (PARAVIRT_XXL is for Xen PV alone); kernels before
 * that have.
 */
const untyped: TypescriptOps['ops'] = {
  save_fl: saveFlags,
  irq_disable: disable,
  irq_enable: enable,
  safe_halt: safeHalt,
  io_delay: 'nop',
  read_cr2: readCr2,
  write_cr3: writeCr3,
  set_pte: setPte,
  flush_tlb_local: flushUser,
  flush_tlb_global: flushKernel,
  flush_tlb_one_user: flushOne,
  flush_tlb_multi: flushMulti,
  // Before 5.13; since then no slot of the table has it.
  sched_clock: schedClock,
  // Before 4.15 and 5.14.
  flush_tlb: flushUser,
  flush_tlb_single: flushOne,
};

/** The module that `vm ops load VM xen-ops` loads. */
export const ops: TypescriptOps = {
  name: 'xen-ops',
  version: '1.4.0',
  api: '^1.6',
  guest: 'linux',
  whereThere: true,
  ops: {
    'irq.save_fl': saveFlags,
    'irq.irq_disable': disable,
    'irq.irq_enable': enable,
    'irq.safe_halt': safeHalt,
    'cpu.io_delay': 'nop',
    'mmu.read_cr2': readCr2,
    'mmu.write_cr3': writeCr3,
    'mmu.flush_tlb_user': flushUser,
    'mmu.flush_tlb_kernel': flushKernel,
    'mmu.flush_tlb_one_user': flushOne,
    'mmu.flush_tlb_multi': flushMulti,
    'mmu.set_pte': setPte,
    'mmu.set_pmd': setPmd,
    'mmu.set_pud': setPud,
    'mmu.lazy_mode.enter': 'nop',
    'mmu.lazy_mode.leave': 'nop',
    'time.sched_clock': schedClock,
    ...untyped,
  },
};
