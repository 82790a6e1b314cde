import { dropLdt } from '../cpu/descriptors.ts';
import type { XenVcpu } from '../domain.ts';
import { FrameType } from './frames.ts';
import type { PvMemory } from './manager.ts';
import { OK } from './pageTables.ts';

/** MMUEXT_NEW_BASEPTR and MOV to CR3: 0 or an errno. */
export function loadKernelRoot(mm: PvMemory, vcpu: XenVcpu, mfn: number): number {
  const old = vcpu.kernelRootMfn;
  if (mfn !== old) {
    const result = mm.tables.getPageAndType(mfn, mm.model.rootType);
    if (result !== OK) return result;
    dropLdt(mm, vcpu);
    vcpu.kernelRootMfn = mfn;
  }
  mm.loadRoot(vcpu);
  if (mfn !== old && old !== 0) mm.tables.putPageAndType(old);
  return OK;
}

/** MMUEXT_NEW_USER_BASEPTR; mfn 0 takes the user root away. */
export function loadUserRoot(mm: PvMemory, vcpu: XenVcpu, mfn: number): number {
  const old = vcpu.userRootMfn;
  if (mfn === old) return OK;
  if (mfn !== 0) {
    const result = mm.tables.getPageAndType(mfn, FrameType.L4);
    if (result !== OK) return result;
  }
  vcpu.userRootMfn = mfn;
  vcpu.userRootStale = true;
  if (old !== 0) mm.tables.putPageAndType(old);
  return OK;
}
