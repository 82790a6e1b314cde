import type { CodeOp, TypescriptOp, TypescriptOps } from '@polyvisor/plugin-api';
import { assemble, to } from './code.ts';

const INTERRUPT_FLAG = 0x200;
const RET = [0xc3];

/** SCHEDOP_block: interrupts on and asleep, in one exit. */
const safeHalt: CodeOp = {
  // jmp trap: all at once, so that no interrupt comes in between and is slept through.
  code: (place) => assemble(place, [[0xe9], to(place.trap)]),
  trap: ({ vcpu }) => {
    vcpu.eflags |= INTERRUPT_FLAG;
    vcpu.blocked = true;
  },
};

/** Page tables are writable, with or without lazy mode: an entry is stored, and no exit has to carry it anywhere. */
// mov [rdi], rsi
const store: CodeOp['code'] = (place) => assemble(place, [[0x48, 0x89, 0x37], RET]);
const setPte: CodeOp = { code: store };
const setPmd: CodeOp = { code: store };
const setPud: CodeOp = { code: store };

/** MMUEXT_NEW_BASEPTR. */
const writeCr3: TypescriptOp = (call) => {
  call.vcpu.cr3 = call.arg(0);
};
/** MMUEXT_TLB_FLUSH_LOCAL: natively CR3 is read and written, two exits. */
const flushUser: TypescriptOp = ({ vcpu }) => {
  const { cr3 } = vcpu;
  vcpu.cr3 = cr3;
};
/** With global pages: natively CR4.PGE is cleared and set. */
const flushKernel: TypescriptOp = ({ vcpu }) => vcpu.flushTlb();
/** MMUEXT_INVLPG_LOCAL. */
const flushOne: TypescriptOp = (call) => call.vcpu.flushTlb(call.arg(0));
/** MMUEXT_INVLPG_MULTI and MMUEXT_TLB_FLUSH_MULTI: on one vCPU there is nobody else to ask. */
const flushMulti: TypescriptOp = (call) => (call.machine.vcpus.length === 1 ? undefined : 'native');

/** The module that `vm ops load VM xen-ops` loads. */
export const ops: TypescriptOps = {
  name: 'xen-ops',
  version: '1.0.0',
  api: '^1.2',
  guest: 'linux64',
  ops: {
    'irq.safe_halt': safeHalt,
    'cpu.io_delay': 'nop',
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
  },
};
