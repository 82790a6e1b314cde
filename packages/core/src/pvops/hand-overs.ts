import { Gpr, PolyvisorError } from '@polyvisor/plugin-api';
import type { Machine } from '../machine/index.ts';
import { moduleError } from './module-error.ts';

type MachineVcpu = Machine['vcpus'][number];

/** What a boot loader in the guest may hand over: a kernel's image, as its file is, or an ops module. */
export type HandedOver = 'kernel' | 'module';

/** In EDX, with how large each may be, and how often a machine takes one, refused or not: a guest cannot keep the host busy. */
const KINDS: Readonly<
  Record<number, { readonly kind: HandedOver; readonly mostBytes: number; readonly most: number }>
> = {
  1: { kind: 'kernel', mostBytes: 64 << 20, most: 2 },
  2: { kind: 'module', mostBytes: 4 << 20, most: 16 },
};
/** On its way: what `register` answers, too. */
const TAKEN = 1n;

/** Who takes what is handed over. */
export interface HandOverHost {
  /** What it refuses, it throws as a `PolyvisorError`. The guest stands still meanwhile. */
  handOver(kind: HandedOver, bytes: Uint8Array): Promise<void>;
  /** Told of each refusal. */
  refused(error: PolyvisorError): void;
}

/** The answer for the guest to something that was refused: the number of its PV code, negative. */
export const refusalAnswer = ({ code }: PolyvisorError): bigint => -BigInt(code.replace(/^PV/, ''));

/** Why something is not taken. */
export const refusedHandOver = (what: string): PolyvisorError => moduleError('PV5031', `the guest hands over ${what}`);

/**
 * The call by which a boot loader in the guest hands over a kernel and modules for its operations, before it starts that kernel:
 * docs/ops-modules.md, "A boot loader in the guest". All that it says is hostile.
 */
export class HandOvers {
  readonly #machine: Machine;
  readonly #host: HandOverHost;
  readonly #taken = { kernel: 0, module: 0 };

  constructor(machine: Machine, host: HandOverHost) {
    this.#machine = machine;
    this.#host = host;
  }

  /** Copies what the registers name. The machine stands still until RAX has the answer. Throws PV5031. */
  take(vcpu: MachineVcpu): void {
    const low = (index: number) => Number(vcpu.gpr[index] & 0xffff_ffffn);
    const found = KINDS[low(Gpr.RDX)];
    if (!found) throw refusedHandOver(`something of kind ${low(Gpr.RDX)}`);
    const { kind, mostBytes, most } = found;
    if (this.#taken[kind] === most) throw refusedHandOver(`a ${kind}, and ${most} have come already`);
    this.#taken[kind]++;
    const sizeBytes = low(Gpr.RCX);
    if (sizeBytes === 0 || sizeBytes > mostBytes) throw refusedHandOver(`a ${kind} of ${sizeBytes} bytes`);
    const bits = vcpu.engine.mode === 'long64' ? 64 : 32;
    const gva = BigInt.asUintN(bits, vcpu.gpr[Gpr.RBX]);
    const read = vcpu.read(gva, sizeBytes, { as: 'supervisor' });
    if (!read.ok) throw refusedHandOver(`a ${kind} at 0x${gva.toString(16)}, where there is no memory`);
    this.#machine.hold(
      this.#answer(kind, read.bytes).then((answer) => {
        vcpu.gpr[Gpr.RAX] = BigInt.asUintN(bits, answer);
      }),
    );
  }

  async #answer(kind: HandedOver, bytes: Uint8Array): Promise<bigint> {
    try {
      await this.#host.handOver(kind, bytes);
      return TAKEN;
    } catch (error) {
      if (!(error instanceof PolyvisorError)) throw error;
      this.#host.refused(error);
      return refusalAnswer(error);
    }
  }
}
