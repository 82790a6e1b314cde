/** What a page fault is, for code that stands before its exit. */
import type { DirectCode, Word } from '@polyvisor/plugin-api';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from '../access.ts';
import { FaultCode } from './traps.ts';

/** 0 or 1: the address that a page fault wanted is none of the hypervisor's, where its LDTs are. */
export function isOutsideHypervisor(code: DirectCode): Word {
  const isBelow = code.below(code.faultAddress(), code.quad(HYPERVISOR_VIRT_START));
  return code.or(isBelow, code.not(code.below(code.faultAddress(), code.quad(HYPERVISOR_VIRT_END))));
}

/** 0 or 1: what a write to a page table looks like. */
export function isWriteToPresent(code: DirectCode): Word {
  const { PRESENT, WRITE, RESERVED, FETCH } = FaultCode;
  const kind = code.and(code.errorCode(), code.word(PRESENT | WRITE | RESERVED | FETCH));
  return code.equal(kind, code.word(PRESENT | WRITE));
}
