import type { BootRequest, ExitAnswer } from '@polyvisor/plugin-api';
import { FakeHost, FakeMachine, type FakeMachineOptions, type FakeVcpu } from '@polyvisor/testkit';
import { CALL_NAMES } from '../calls/numbers.ts';
import { vmiPlugin } from '../plugin.ts';
import { ROM_AREA } from '../rom/header.ts';

const STACK = 0x80000;
const NUMBERS = new Map([...CALL_NAMES].map(([number, name]) => [name, number]));

interface Arguments {
  readonly eax?: number;
  readonly edx?: number;
  readonly ecx?: number;
  readonly stack?: readonly number[];
}

/** A machine of fakes on which the ROM `trap` stands and a vCPU is about to call it. */
export class FakeGuest {
  readonly host = FakeHost.of(vmiPlugin, { rom: 'trap' });
  readonly machine: FakeMachine;
  readonly vcpu: FakeVcpu;

  constructor(options: FakeMachineOptions = {}) {
    this.machine = new FakeMachine(options);
    this.vcpu = this.machine.vcpus[0];
    this.boot('core');
  }

  /** Start a guest through a door that `plugin` offers. */
  boot(plugin: string): void {
    const entry = { name: 'multiboot1', abi: 'Multiboot', address: 0n, foundIn: 'test', plugin, priority: 1 };
    const image = { name: 'test', description: 'none', format: 'multiboot' as const, file: new Uint8Array(0) };
    const request: BootRequest = { image, entry, commandLine: '', memoryBytes: this.machine.memory.sizeBytes };
    this.host.call('boot', request, this.machine);
  }

  /** The trap of a call: its answer. Results are in the vCPU's registers. */
  call(call: string | number, { eax = 0, edx = 0, ecx = 0, stack = [] }: Arguments = {}): ExitAnswer {
    const number = typeof call === 'number' ? call : (NUMBERS.get(call) as number);
    const { gpr } = this.vcpu;
    gpr.set([eax, ecx, edx].map((value) => BigInt(value >>> 0)));
    gpr[4] = BigInt(STACK);
    [number, 0, ...stack].forEach((value, i) => this.machine.memory.write32(STACK + 4 * i, value >>> 0));
    return this.trap(ROM_AREA.first + 0xb2);
  }

  /** VMCALL at an address. */
  trap(rip: number): ExitAnswer {
    this.vcpu.rip = BigInt(rip);
    return this.host.exit(this.vcpu, { kind: 'hypercall', instruction: 'vmcall', instructionLength: 3 });
  }

  get eax(): number {
    return Number(this.vcpu.gpr[0]);
  }
  counter(name: string): number {
    return this.host.counters.get(name) ?? 0;
  }
}
