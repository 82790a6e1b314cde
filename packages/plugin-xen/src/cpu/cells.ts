import type { Segment } from '@polyvisor/plugin-api';
import type { XenVcpu } from '../domain.ts';
import { KERNEL_CS, KERNEL_SS } from './segments.ts';

/** Cells of a PV guest's vCPU (plugin-api, DirectState); those before RAM are a PV64 guest's alone. */
export const Cell = {
  /** 1 while the guest's kernel runs. */
  KERNEL_MODE: 0,
  /** The kernel's entry for SYSCALL; 0: the exit has to see to it. The frame for it, and whether it masks events. */
  SYSCALL_ENTRY: 1,
  SYSCALL_FRAME: 2,
  SYSCALL_MASKS: 3,
  /** Place of struct vcpu_info. */
  VCPU_INFO: 4,
  /** 1: the iret hypercall may go by itself. */
  MAY_RETURN: 5,
  /** How many did, since they were counted. */
  RETURNS: 6,
  /** {@link selectorPair} by which the GDT is known to hold the flat segments; 0: none. */
  USER_SELECTORS: 7,
  /** Place of machine memory; 0: changes of page tables are the exit's. */
  RAM: 8,
  /** Places in the frame table, and how many frames there are. */
  FRAME_REFS: 9,
  FRAME_TYPES: 10,
  FRAME_OWNERS: 11,
  FRAME_COUNT: 12,
  /** Frame of the kernel's root. */
  KERNEL_ROOT: 13,
  /** Calls made since they were counted: mmu_update in the low half, update_va_mapping in the high one; mmuext_op. */
  UPDATES: 14,
  MMUEXT_OPS: 15,
  /** The kernel's handler of page faults, 0: the exit has to see to it; not 0: it masks events. And where the kernel's stack begins. */
  PAGE_FAULT_ENTRY: 16,
  PAGE_FAULT_MASKS: 17,
  KERNEL_STACK: 18,
  /** Of a PV32 guest: {@link flatSegment} of that handler's code and of the kernel's stack; 0: the exit has to see to them. */
  HANDLER_CODE: 19,
  KERNEL_STACK_SEGMENT: 20,
  /** 1: these segments are those of the guest's descriptors. */
  ARE_SEGMENTS_KNOWN: 21,
  /** Likewise of its entry for SYSENTER; where that is, and in the upper half whether it masks events. */
  SYSENTER_CODE: 22,
  SYSENTER_ENTRY: 23,
  /** 1: the guest's kernel may read ports, all of which answer ones. */
  READS_PORTS: 24,
} as const;

/** Of access rights: code that can be read, data that can be written. */
const READ_WRITE = 2;
/** A selector of the LDT. */
const TABLE_LDT = 4;

/** Selectors of code and stack in one word. */
export const selectorPair = (cs: number, ss: number): number => cs | (ss << 16);

/** The guest returns to user mode by these selectors: if they name the flat segments, they may be used without looking. */
export function rememberSelectors(vcpu: XenVcpu, code: Segment, stack: Segment): void {
  const { cells } = vcpu.cpu.directState;
  const inGdt = ((code.selector | stack.selector) & TABLE_LDT) === 0;
  const isFlat = inGdt && isSame(code, KERNEL_CS) && isSame(stack, KERNEL_SS);
  cells[2 * Cell.USER_SELECTORS] = isFlat ? selectorPair(code.selector, stack.selector) : 0;
}
/** A descriptor has changed. */
export function forgetSelectors(vcpu: XenVcpu): void {
  const { cells } = vcpu.cpu.directState;
  cells[2 * Cell.USER_SELECTORS] = 0;
  cells[2 * Cell.ARE_SEGMENTS_KNOWN] = 0;
}

/** Selector and, from bit 16 on, access rights of a segment of 4 GiB from 0 on; 0: it is another one. */
export function flatSegment(segment: Segment | undefined): number {
  if (segment?.base !== 0n || segment.limit !== 0xffff_ffff || (segment.accessRights & READ_WRITE) === 0) return 0;
  return segment.selector | (segment.accessRights << 16);
}
const isSame = (a: Segment, b: Segment): boolean =>
  a.accessRights === b.accessRights && a.base === b.base && a.limit === b.limit;
