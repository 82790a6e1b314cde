import { HYPERVISOR_VIRT_START } from '../access.ts';
import { FrameType } from '../mm/frames.ts';
import type { WordBytes } from './struct.ts';

/** What sets 32-bit PV guests (PAE, kernel at CPL 1) and 64-bit ones (kernel at CPL 3) apart, beside structures. */
export interface PvModel {
  readonly name: 'PV32' | 'PV64';
  readonly wordBytes: WordBytes;
  /** Levels of the guest's page tables, and the type of its root. */
  readonly levels: 3 | 4;
  readonly rootType: number;
  /** Privilege level of the guest's kernel, the RPL of its selectors. */
  readonly kernelCpl: 1 | 3;
  /** Where the guest sees the hypervisor begin (XENVER_platform_parameters), and its part of the address space end. */
  readonly hypervisorStart: bigint;
  /** Machine-to-physical table, as the guest may address it. */
  readonly m2pStart: bigint;
  readonly m2pEnd: bigint;
}

/** First and last L2 slot of the hypervisor's hole in a PAE guest's fourth gigabyte: 0xf5800000–0xffffffff. */
export const PAE_HOLE_START = 0xf580_0000n;
export const FIRST_PAE_XEN_SLOT = Number((PAE_HOLE_START >> 21n) & 511n);
/** End of what XENMEM_machphys_mapping names (Xen's HYPERVISOR_COMPAT_VIRT_END). */
const PAE_M2P_END = 0xffe0_0000n;

export const PV64: PvModel = {
  name: 'PV64',
  wordBytes: 8,
  levels: 4,
  rootType: FrameType.L4,
  kernelCpl: 3,
  hypervisorStart: HYPERVISOR_VIRT_START,
  m2pStart: 0xffff_8000_0000_0000n,
  m2pEnd: 0xffff_8040_0000_0000n,
};

export const PV32: PvModel = {
  name: 'PV32',
  wordBytes: 4,
  levels: 3,
  rootType: FrameType.L3,
  kernelCpl: 1,
  hypervisorStart: PAE_HOLE_START,
  m2pStart: PAE_HOLE_START,
  m2pEnd: PAE_M2P_END,
};
