import type { Clock, Exit, ExitAnswer, ExitKind, GuestMemory, PluginHost, Vcpu } from '@polyvisor/plugin-api';

/** What CPUID answers. */
export interface CpuidLeaf {
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

/** One vendor's hardware assistance on one vCPU. */
export interface AssistedVcpu {
  /** RDMSR, WRMSR and the instructions of the assistance: what is passed on is the processor's own behaviour. */
  exit(exit: Exit): ExitAnswer;
}

/** What a vendor's half needs of the machine. */
export interface Surroundings {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  /** Counters, for `--stats`. */
  count(name: string): void;
  log: PluginHost['log'];
}

/** One vendor's hardware assistance. */
export interface HwAssist {
  /** MSRs of its own, inclusive ranges. */
  readonly msrs: readonly (readonly [first: number, last: number])[];
  /** Leaves of CPUID of its own. */
  readonly leaves: readonly (readonly [first: number, last: number])[];
  /** Exits that it wants to see of what does not run in a world of its own, beside CPUID, MSRs and its instructions. */
  readonly kinds: readonly ExitKind[];
  /** A leaf of CPUID that it changes; `undefined`: it does not. */
  cpuid(leaf: number, own: () => CpuidLeaf): CpuidLeaf | undefined;
  assist(vcpu: Vcpu, surroundings: Surroundings): AssistedVcpu;
}
