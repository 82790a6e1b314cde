import {
  type Devices,
  type Machine,
  NO_DEVICES,
  type PlatformDefinition,
  type ShutdownReason,
} from '@polyvisor/plugin-api';
import { FakeClock } from './clock.ts';
import { FakeConsole } from './console.ts';
import { FakeMemory } from './memory.ts';
import { FakeVcpu, type TranslateFunction } from './vcpu.ts';

export interface FakeMachineOptions {
  /** Default 16 MiB. */
  readonly memoryBytes?: number;
  readonly vcpus?: number;
  readonly commandLine?: string;
  readonly devices?: Partial<Devices>;
  readonly translate?: TranslateFunction;
  /** Leaf number → answer; leaves that are not here answer zeros. */
  readonly cpuid?: Readonly<Record<number, { eax: number; ebx: number; ecx: number; edx: number }>>;
  /** Address → name. */
  readonly symbols?: ReadonlyMap<bigint, string>;
}

/** A machine of fakes; `ended` tells how a plug-in shut it down. */
export class FakeMachine implements Machine {
  readonly memory: FakeMemory;
  readonly clock = new FakeClock();
  readonly console = new FakeConsole();
  readonly devices: Devices;
  readonly vcpus: readonly FakeVcpu[];
  readonly platform: PlatformDefinition;
  ended: ShutdownReason | undefined;
  /** Calls of {@link raiseTimerInterrupt}. */
  timerInterrupts = 0;
  readonly #options: FakeMachineOptions;

  constructor(options: FakeMachineOptions = {}) {
    const memoryBytes = options.memoryBytes ?? 16 << 20;
    const count = options.vcpus ?? 1;
    const { translate } = options;
    this.#options = options;
    this.memory = new FakeMemory(memoryBytes);
    this.devices = { ...NO_DEVICES, ...options.devices };
    this.vcpus = Array.from({ length: count }, (_, id) => new FakeVcpu(this.memory, { id, translate }));
    this.platform = {
      chips: new Set(),
      memoryBytes,
      overheadBytes: 0,
      vcpus: count,
      commandLine: options.commandLine ?? '',
    };
  }

  cpuid(leaf: number, _subleaf: number): { eax: number; ebx: number; ecx: number; edx: number } {
    return this.#options.cpuid?.[leaf] ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  }
  shutdown(reason: ShutdownReason): void {
    this.ended ??= reason;
  }
  raiseTimerInterrupt(): void {
    this.timerInterrupts++;
  }
  symbol(gva: bigint): string | undefined {
    return this.#options.symbols?.get(gva);
  }
}
