import {
  type Exit,
  type ExitAnswer,
  type ExitKind,
  Gpr,
  type Machine,
  type Plugin,
  type PluginHost,
  PolyvisorError,
  type Vcpu,
} from '@polyvisor/plugin-api';
import type { AssistedVcpu, HwAssist } from './assist.ts';
import { svm } from './svm/svm.ts';
import { vmx } from './vmx/vmx.ts';

const NAME = 'hwassist';
/** Exits by which a hypervisor uses the assistance; those of its guests do not come through hooks. */
const KINDS = ['cpuid', 'rdmsr', 'wrmsr', 'virtualization'] as const satisfies readonly ExitKind[];
const VENDORS: Readonly<Record<string, HwAssist>> = { svm, vmx };

/** @throws PolyvisorError PV6101 unless there is one vendor, by its name alone */
function chosenVendor(options: Readonly<Record<string, string>>): HwAssist {
  const [first = ['svm', ''], ...others] = Object.entries(options);
  const [name, value] = first;
  if (others.length === 0 && value === '') return VENDORS[name];
  throw new PolyvisorError(
    'PV6101',
    'the guest has hardware assistance of one vendor',
    'use hwassist=svm or hwassist=vmx',
  );
}

/**
 * Hardware assistance: the processor has SVM or VMX, so that a hypervisor can run as the guest, and guests in it. NOT IMPLEMENTED: what
 * docs/hwassist.md lists.
 */
export const hwassistPlugin: Plugin = {
  name: NAME,
  version: '0.1.0',
  api: '^1.10',
  options: {
    svm: 'AMD’s, which is what there is by default',
    vmx: 'Intel’s, with CPUID saying that the processor is one of theirs',
  },
  apply(host) {
    new AssistedMachine(host, chosenVendor(host.options)).attach();
  },
};

class AssistedMachine {
  readonly #host: PluginHost;
  readonly #assist: HwAssist;
  readonly #vcpus = new Map<Vcpu, AssistedVcpu>();
  #machine: Machine | undefined;

  constructor(host: PluginHost, assist: HwAssist) {
    this.#host = host;
    this.#assist = assist;
  }

  attach(): void {
    const { hooks } = this.#host;
    for (const [first, last] of this.#assist.msrs) this.#host.claim({ kind: 'msr', first, last });
    for (const [first, last] of this.#assist.leaves) this.#host.claim({ kind: 'cpuid', first, last });
    // Loaded before the guest starts or not at all: a kernel asks CPUID once.
    hooks.boot.tap(NAME, (_request, machine) => {
      this.#machine = machine;
      for (const vcpu of machine.vcpus) this.#assisted(vcpu);
      return undefined;
    });
    hooks.vcpuTerminate.tap(NAME, (vcpu) => {
      this.#vcpus.delete(vcpu);
    });
    for (const kind of [...KINDS, ...this.#assist.kinds])
      hooks.exit.for(kind).tap(NAME, (vcpu, exit) => this.#exit(vcpu, exit));
  }

  #exit(vcpu: Vcpu, exit: Exit): ExitAnswer {
    if (exit.kind === 'cpuid') return this.#cpuid(vcpu);
    return (this.#vcpus.get(vcpu) ?? this.#assisted(vcpu))?.exit(exit) ?? 'pass';
  }
  /** Undefined: another plug-in has started the guest before this one was asked. */
  #assisted(vcpu: Vcpu): AssistedVcpu | undefined {
    if (!this.#machine) return undefined;
    const host = this.#host;
    const made = this.#assist.assist(vcpu, {
      memory: this.#machine.memory,
      clock: this.#machine.clock,
      count: (name) => host.count(name),
      log: (level, message) => host.log(level, message),
    });
    this.#vcpus.set(vcpu, made);
    return made;
  }
  /** The guest will not find what the operator wanted it to have. */
  #sayItIsLate(): void {
    if (this.#hasSaidSo) return;
    this.#hasSaidSo = true;
    this.#host.log(
      'warn',
      'another plug-in has started the guest, which has no hardware assistance: name hwassist before it',
    );
  }
  #hasSaidSo = false;
  #cpuid(vcpu: Vcpu): ExitAnswer {
    const machine = this.#machine;
    if (!machine) {
      this.#sayItIsLate();
      return 'pass';
    }
    const [leaf, subleaf] = [vcpu.gprHalves[2 * Gpr.RAX] >>> 0, vcpu.gprHalves[2 * Gpr.RCX] >>> 0];
    const changed = this.#assist.cpuid(leaf, () => machine.cpuid(leaf, subleaf));
    if (!changed) return 'pass';
    const { eax, ebx, ecx, edx } = changed;
    [eax, ecx, edx, ebx].forEach((value, register) => {
      vcpu.gpr[register] = BigInt(value >>> 0);
    });
    return 'handled';
  }
}
