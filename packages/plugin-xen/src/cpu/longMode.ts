import { SegmentIndex } from '@polyvisor/plugin-api';
import type { XenVcpu } from '../domain.ts';
import type { PvMemory } from '../mm/manager.ts';
import { loadDescriptorTables } from './descriptors.ts';
import { KERNEL_CS, KERNEL_SS, NULL_SEGMENT, RING1_CS, RING1_SS } from './segments.ts';

/** CR0: PG AM WP NE ET MP PE. */
const CR0 = 0x8005_0033n;
/** CR4 of the hardware under a PV guest: PAE, OSFXSR, OSXMMEXCPT. No PGE: a guest's flushes must reach everything. */
const CR4 = 0x620n;
/** EFER: SCE LME LMA NXE. */
const EFER = 0xd01n;

/**
 * The CPU state in which every PV vCPU begins: long mode on its kernel root with flat segments, a PV64 kernel at CPL 3, a
 * PV32 kernel at CPL 1 in compatibility mode. The root must be known.
 */
export function setLongMode(mm: PvMemory, vcpu: XenVcpu): void {
  const { cpu } = vcpu;
  cpu.efer = EFER;
  cpu.cr4 = CR4;
  if (vcpu.ring1) cpu.cpl = 1;
  else vcpu.kernelMode = true;
  cpu.cr3 = mm.rootOf(vcpu);
  cpu.cr0 = CR0;
  vcpu.userRootStale = true;
  loadDescriptorTables(vcpu);
  for (const index of [SegmentIndex.ES, SegmentIndex.DS, SegmentIndex.FS, SegmentIndex.GS]) {
    cpu.setSegment(index, vcpu.ring1 ? RING1_SS : NULL_SEGMENT);
  }
  cpu.kernelGsBase = 0n;
  cpu.setSegment(SegmentIndex.CS, vcpu.ring1 ? RING1_CS : KERNEL_CS);
  cpu.setSegment(SegmentIndex.SS, vcpu.ring1 ? RING1_SS : KERNEL_SS);
  cpu.cpl = vcpu.ring1 ? 1 : 3;
}
