import { SegmentIndex } from '@polyvisor/plugin-api';
import type { XenVcpu } from '../domain.ts';
import { rootAddress } from '../mm/manager.ts';
import { loadDescriptorTables } from './descriptors.ts';
import { KERNEL_CS, KERNEL_SS, NULL_SEGMENT } from './segments.ts';

/** CR0: PG AM WP NE ET MP PE. */
const CR0 = 0x8005_0033n;
/** CR4 of the hardware under a PV64 guest: PAE, OSFXSR, OSXMMEXCPT. No PGE: a guest's flushes must reach everything. */
const CR4 = 0x620n;
/** EFER: SCE LME LMA NXE. */
const EFER = 0xd01n;

/** The CPU state in which every PV64 vCPU begins: long mode at CPL 3 on its kernel root, flat segments. */
export function setLongMode(vcpu: XenVcpu): void {
  const { cpu } = vcpu;
  cpu.efer = EFER;
  cpu.cr4 = CR4;
  cpu.cr3 = rootAddress(vcpu.kernelRootMfn);
  cpu.cr0 = CR0;
  vcpu.kernelMode = true;
  vcpu.userRootStale = true;
  loadDescriptorTables(vcpu);
  for (const index of [SegmentIndex.ES, SegmentIndex.DS, SegmentIndex.FS, SegmentIndex.GS]) {
    cpu.setSegment(index, NULL_SEGMENT);
  }
  cpu.kernelGsBase = 0n;
  cpu.setSegment(SegmentIndex.CS, KERNEL_CS);
  cpu.setSegment(SegmentIndex.SS, KERNEL_SS);
  cpu.cpl = 3;
}
