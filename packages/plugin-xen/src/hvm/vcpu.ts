import type { Vcpu } from '@polyvisor/plugin-api';
import { PV64 } from '../abi/model.ts';
import type { XenVcpu } from '../domain.ts';
import { createVcpu } from '../pvDomain.ts';

/** A vCPU that runs in kernel and user mode by itself: of what a PV guest sets through hypercalls nothing ever changes. */
export function createHvmVcpu(cpu: Vcpu): XenVcpu {
  return { ...createVcpu(cpu, PV64), isHvm: true, initialised: cpu.id === 0, userRootStale: false, traps: [] };
}
