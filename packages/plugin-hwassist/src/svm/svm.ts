import { type Exit, type ExitAnswer, type ExitOf, Gpr, type Vcpu } from '@polyvisor/plugin-api';
import type { AssistedVcpu, CpuidLeaf, HwAssist, Surroundings } from '../assist.ts';
import { SVM_MSRS, SvmRegisters } from './msrs.ts';
import { ASIDS, World } from './world.ts';

const VECTOR_UD = 6;
const VECTOR_GP = 13;
const IA32_EFER = 0xc0000080;
const EFER_SVME = 1n << 12n;
const CR0_PE = 1n;
const RFLAGS_VM = 1n << 17n;
const LOW = 0xffff_ffffn;
const PAGE_MASK = 0xfffn;

const HIGHEST_EXTENDED_LEAF = 0x8000_0000;
const EXTENDED_FEATURES = 0x8000_0001;
/** SVM (APM vol. 3, E.4.2). */
const FEATURE_SVM = 1 << 2;
const SVM_LEAF = 0x8000_000a;
const SVM_REVISION = 1;
/** EDX: nested paging, nRIP. NOT IMPLEMENTED: all others. */
const SVM_FEATURES = (1 << 0) | (1 << 3);

const undefinedOpcode: ExitAnswer = { fault: VECTOR_UD };
const protection: ExitAnswer = { fault: VECTOR_GP, errorCode: 0 };

/** AMD's Secure Virtual Machine, revision 1 (AMD APM vol. 2, chapter 15). */
export const svm: HwAssist = {
  msrs: SVM_MSRS,
  leaves: [[SVM_LEAF, SVM_LEAF]],
  kinds: [],
  cpuid(leaf, own): CpuidLeaf | undefined {
    switch (leaf) {
      case HIGHEST_EXTENDED_LEAF:
        return { ...own(), eax: Math.max(own().eax >>> 0, SVM_LEAF) };
      case EXTENDED_FEATURES: {
        const answer = own();
        return { ...answer, ecx: answer.ecx | FEATURE_SVM };
      }
      case SVM_LEAF:
        return { eax: SVM_REVISION, ebx: ASIDS, ecx: 0, edx: SVM_FEATURES };
      default:
        return undefined;
    }
  },
  assist: (vcpu, surroundings) => new SvmVcpu(vcpu, surroundings),
};

class SvmVcpu implements AssistedVcpu {
  readonly #vcpu: Vcpu;
  readonly #surroundings: Surroundings;
  readonly #registers = new SvmRegisters();
  readonly #world: World;

  constructor(vcpu: Vcpu, surroundings: Surroundings) {
    this.#vcpu = vcpu;
    this.#surroundings = surroundings;
    this.#world = new World(vcpu, surroundings);
  }

  exit(exit: Exit): ExitAnswer {
    switch (exit.kind) {
      case 'rdmsr':
        return this.#readMsr();
      case 'wrmsr':
        return this.#writeMsr();
      case 'virtualization':
        return this.#instruction(exit);
      default:
        return 'pass';
    }
  }

  get #isEnabled(): boolean {
    return (this.#vcpu.efer & EFER_SVME) !== 0n;
  }

  #readMsr(): ExitAnswer {
    const { gpr, cpl } = this.#vcpu;
    if (cpl !== 0) return 'pass';
    const value = this.#registers.read(Number(gpr[Gpr.RCX] & LOW));
    if (value === undefined) return 'pass';
    gpr[Gpr.RAX] = value & LOW;
    gpr[Gpr.RDX] = value >> 32n;
    return 'handled';
  }

  #writeMsr(): ExitAnswer {
    const { gpr, cpl } = this.#vcpu;
    if (cpl !== 0) return 'pass';
    const index = Number(gpr[Gpr.RCX] & LOW);
    const value = ((gpr[Gpr.RDX] & LOW) << 32n) | (gpr[Gpr.RAX] & LOW);
    if (index === IA32_EFER) return this.#writeEfer(value);
    const [first, last] = SVM_MSRS[0];
    if (index < first || index > last) return 'pass';
    return this.#registers.write(index, value, this.#isEnabled) ? 'handled' : protection;
  }

  /** EFER.SVME is here, the other bits are the processor's. */
  #writeEfer(value: bigint): ExitAnswer {
    const enable = (value & EFER_SVME) !== 0n;
    if (enable && this.#registers.isDisabled) return protection;
    if (!this.#vcpu.writeMsr(IA32_EFER, value & ~EFER_SVME)) return protection;
    if (enable) {
      this.#vcpu.efer |= EFER_SVME;
      this.#world.attach();
    }
    return 'handled';
  }

  /** #UD without SVME and outside of protected mode, #GP at another CPL than 0 (APM vol. 3, VMRUN). */
  #instruction({ instruction, address, instructionLength }: ExitOf<'virtualization'>): ExitAnswer {
    const vcpu = this.#vcpu;
    const isProtected = (vcpu.cr0 & CR0_PE) !== 0n && (vcpu.rflags & RFLAGS_VM) === 0n;
    if (!this.#isEnabled || !isProtected || instruction === 'skinit') return undefinedOpcode;
    if (vcpu.cpl !== 0) return protection;
    switch (instruction) {
      case 'stgi':
      case 'clgi':
        this.#world.setGif(instruction === 'stgi');
        return 'handled';
      case 'invlpga':
        vcpu.flushTlb(address);
        return 'handled';
      case 'vmrun':
      case 'vmload':
      case 'vmsave':
        return this.#withVmcb(instruction, address, instructionLength);
      default:
        return undefinedOpcode;
    }
  }

  #withVmcb(instruction: 'vmrun' | 'vmload' | 'vmsave', address: bigint, lengthBytes: number): ExitAnswer {
    const { memory } = this.#surroundings;
    // What is not memory could be a VMCB on a processor, and would read as all ones.
    if (address & PAGE_MASK || address >= BigInt(memory.sizeBytes)) return protection;
    this.#world[instruction](Number(address), lengthBytes);
    return 'handled';
  }
}
