import { type ElfImage, Gpr, type Plugin } from '@polyvisor/plugin-api';
import type { Machine } from '../machine/index.ts';
import { findKernelOps, type KernelOps } from './kernel-ops.ts';
import { RunningKernel } from './running-kernel.ts';

/** In which a kernel makes of its calls through the table what they are to be (Linux, arch/x86/kernel/alternative.c). */
const PATCHING_FUNCTION = 'alternative_instructions';
/** VMCALL (SDM vol. 3C, "VMCALL"); with CPL 0 it asks the machine first. */
const VMCALL = Uint8Array.of(0x0f, 0x01, 0xc1);
/** ENDBR64, ENDBR32; what ftrace makes of the call of __fentry__: CALL rel32, NOP of 5 bytes. */
const ENDBR = [0xf3, 0x0f, 0x1e];
const CALL_BYTES = 5;
const CALL_OR_NOP = [0xe8, 0x0f];

interface Planted {
  readonly gva: bigint;
  /** Writes what was there. */
  restore(): void;
  reached(): void;
}

/**
 * Finds the moment of a kernel's boot at which ops can be put into it: when it has patched its calls, which is before there
 * is a second task, a second processor or a user. Earlier, the kernel would write over what is put into its table or its
 * code. The kernel may unpack and move itself on the way: it is looked for whenever it loads an IDT, until it is found.
 *
 * `ready` is called once or more, between two instructions, until it answers true. `settled`: nobody can be within a call
 * site. Else the guest was not seen to patch its calls, and is in user space for the first time.
 */
export class OpsAtBoot {
  /** To be loaded into the registry of the machine. */
  readonly plugin: Plugin;
  readonly #elf: ElfImage;
  readonly #ready: (settled: boolean) => boolean;
  #ops: KernelOps | undefined;
  #machine: Machine | undefined;
  #tableWasLoaded = false;
  #planted: Planted | undefined;
  #done = false;

  /** `ops`: those of `elf`, if they are known already. */
  constructor(elf: ElfImage, apiVersion: string, ready: (settled: boolean) => boolean, ops?: KernelOps) {
    this.#elf = elf;
    this.#ops = ops;
    this.#ready = ready;
    this.plugin = {
      ...{ name: 'ops-at-boot', version: '1.0.0', api: apiVersion },
      apply: ({ hooks }) => {
        hooks.exit.for('loadTable').tap('ops-at-boot', (_vcpu, { table }) => {
          if (table === 'idt') this.#tableWasLoaded = true;
          return 'pass';
        });
        hooks.beforeEntry.tap('ops-at-boot', ({ cpl }) => this.#look(cpl));
      },
    };
  }

  /** The machine that has been made with {@link plugin}. */
  started(machine: Machine): void {
    this.#machine = machine;
    this.#planted = undefined;
    this.#done = false;
  }

  /** Whether the kernel is in memory and running. */
  get isFound(): boolean {
    const machine = this.#machine;
    if (this.#done || this.#planted) return true;
    if (!machine) return false;
    this.#ops ??= findKernelOps(this.#elf);
    return RunningKernel.locate(machine, this.#elf, this.#ops) !== undefined;
  }

  #look(cpl: number): void {
    if (this.#done || !this.#machine) return;
    if (cpl === 3) this.#done = this.#ready(false);
    else if (this.#tableWasLoaded && !this.#planted) this.#plant(this.#machine);
    this.#tableWasLoaded = false;
  }

  #plant(machine: Machine): void {
    this.#ops ??= findKernelOps(this.#elf);
    const kernel = RunningKernel.locate(machine, this.#elf, this.#ops);
    const entry = kernel?.symbol(PATCHING_FUNCTION);
    if (!kernel || entry === undefined) return;
    const start = firstOwnInstruction(kernel, entry);
    if (start === undefined) return;
    this.#stopAt(kernel, start, () => {
      const back = kernel.readWordNow(machine.running.gpr[Gpr.RSP]);
      if (back === undefined) return;
      this.#stopAt(kernel, back, () => {
        machine.kernelCalls.delete(this.#call);
        this.#done = this.#ready(true);
      });
    });
  }

  /** Where the guest goes on at `gva`, `reached` is called first; its code is then as it was. */
  #stopAt(kernel: RunningKernel, gva: bigint, reached: () => void): void {
    const before = kernel.read(gva, VMCALL.length);
    if (!before) return;
    kernel.write(gva, VMCALL);
    this.#planted = { gva, restore: () => kernel.write(gva, before), reached };
    kernel.machine.kernelCalls.add(this.#call);
  }

  readonly #call = ({ rip }: { readonly rip: bigint }): boolean => {
    const planted = this.#planted;
    if (!planted || rip !== planted.gva) return false;
    planted.restore();
    planted.reached();
    return true;
  };
}

/** Past what ftrace writes to: the return address is still on top of the stack there. */
function firstOwnInstruction(kernel: RunningKernel, entry: bigint): bigint | undefined {
  const code = kernel.read(entry, 16);
  if (!code) return undefined;
  let at = ENDBR.every((byte, i) => code[i] === byte) ? 4 : 0;
  if (CALL_OR_NOP.includes(code[at])) at += CALL_BYTES;
  return entry + BigInt(at);
}
