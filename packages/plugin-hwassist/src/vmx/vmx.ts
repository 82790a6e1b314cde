import { type Exit, type ExitAnswer, type ExitOf, Gpr, type Vcpu } from '@polyvisor/plugin-api';
import type { AssistedVcpu, CpuidLeaf, HwAssist, Surroundings } from '../assist.ts';
import { changedLeaf } from './cpuid.ts';
import { fastCall } from './fast-calls.ts';
import { VmxInstructions } from './instructions.ts';
import { readVmxMsr, VMX_MSRS, writesVmxMsr } from './msrs.ts';

const VECTOR_GP = 13;
const protection: ExitAnswer = { fault: VECTOR_GP, errorCode: 0 };
const LOW = 0xffff_ffffn;

/** Intel's Virtual Machine Extensions (SDM vol. 3C, chapters 23 to 30). */
export const vmx: HwAssist = {
  msrs: VMX_MSRS,
  leaves: [],
  kinds: ['hypercall', 'sysenter', 'sysexit'],
  cpuid: (leaf, own): CpuidLeaf | undefined => changedLeaf(leaf, own),
  assist: (vcpu, surroundings) => new VmxVcpu(vcpu, surroundings),
};

class VmxVcpu implements AssistedVcpu {
  readonly #vcpu: Vcpu;
  readonly #instructions: VmxInstructions;

  constructor(vcpu: Vcpu, surroundings: Surroundings) {
    this.#vcpu = vcpu;
    this.#instructions = new VmxInstructions(vcpu, surroundings, {
      read: (index) => readVmxMsr(index, vcpu.cr4Bits) ?? vcpu.readMsr(index),
      write: (index, value) => writesVmxMsr(index) ?? vcpu.writeMsr(index, value),
    });
  }

  exit(exit: Exit): ExitAnswer {
    switch (exit.kind) {
      case 'rdmsr':
        return this.#readMsr();
      case 'wrmsr':
        return this.#writeMsr();
      case 'sysenter':
      case 'sysexit':
        return fastCall(this.#vcpu, exit);
      case 'hypercall':
        return this.#hypercall(exit);
      case 'virtualization':
        return this.#instructions.execute(exit);
      default:
        return 'pass';
    }
  }

  #hypercall({ instruction }: ExitOf<'hypercall'>): ExitAnswer {
    return instruction === 'vmcall' ? this.#instructions.vmcall() : 'pass';
  }
  #readMsr(): ExitAnswer {
    const { gpr, cpl, cr4Bits } = this.#vcpu;
    const value = cpl === 0 ? readVmxMsr(Number(gpr[Gpr.RCX] & LOW), cr4Bits) : undefined;
    if (value === undefined) return 'pass';
    gpr[Gpr.RAX] = value & LOW;
    gpr[Gpr.RDX] = value >> 32n;
    return 'handled';
  }
  #writeMsr(): ExitAnswer {
    const { gpr, cpl } = this.#vcpu;
    const isTaken = cpl === 0 ? writesVmxMsr(Number(gpr[Gpr.RCX] & LOW)) : undefined;
    if (isTaken === undefined) return 'pass';
    return isTaken ? 'handled' : protection;
  }
}
