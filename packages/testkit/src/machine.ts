import {
  type BootDescriptor,
  type Devices,
  type Entry,
  type FirmwareTables,
  type Machine,
  NO_DEVICES,
  type PciConnection,
  type PciDevice,
  type PlatformChip,
  type PlatformDefinition,
  type PortDevice,
  type ShutdownReason,
  type VirtioDevice,
  type VirtioPlacement,
  type VirtioSignals,
} from '@polyvisor/plugin-api';
import { FakeClock } from './clock.ts';
import { FakeConsole } from './console.ts';
import { FakeMemory } from './memory.ts';
import { FakeVcpu, type TranslateFunction } from './vcpu.ts';

export interface FakeMachineOptions {
  /** The guest's memory; default 16 MiB. */
  readonly memoryBytes?: number;
  /** Memory above it, for the plug-in's own tables; default none. */
  readonly overheadBytes?: number;
  readonly chips?: readonly PlatformChip[];
  readonly vcpus?: number;
  readonly commandLine?: string;
  readonly devices?: Partial<Devices>;
  /** The door through which the guest is started. */
  readonly entry?: Entry;
  /** What `virtioDevices` answers, made with the signals that the plug-in gives; without it none. */
  readonly virtio?: (signals: VirtioSignals) => readonly VirtioDevice[];
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
  /** Devices given to {@link plugPci}, with the level of their pins. */
  readonly plugged: { readonly device: PciDevice; asserted: boolean }[] = [];
  /** Ranges given to {@link claimPorts}. */
  readonly ports: { readonly firstPort: number; readonly ports: number; readonly device: PortDevice }[] = [];
  /** Alias → target, as {@link aliasPage} was told. */
  readonly aliases = new Map<number, number>();
  bootDescriptor: BootDescriptor | undefined;
  ended: ShutdownReason | undefined;
  /** What {@link plugVirtio} was told. */
  virtioPlacement: VirtioPlacement | undefined;
  /** Calls of {@link raiseTimerInterrupt}. */
  timerInterrupts = 0;
  readonly #options: FakeMachineOptions;

  constructor(options: FakeMachineOptions = {}) {
    const memoryBytes = options.memoryBytes ?? 16 << 20;
    const count = options.vcpus ?? 1;
    const { translate } = options;
    this.#options = options;
    const overheadBytes = options.overheadBytes ?? 0;
    this.memory = new FakeMemory(memoryBytes + overheadBytes);
    this.devices = { ...NO_DEVICES, ...options.devices };
    this.vcpus = Array.from({ length: count }, (_, id) => new FakeVcpu(this.memory, { id, translate }));
    this.platform = {
      entry: options.entry ?? { name: 'fake', abi: 'fake', address: 0n, foundIn: 'test', plugin: 'fake', priority: 0 },
      chips: new Set(options.chips),
      memoryBytes,
      overheadBytes,
      roomForOps: false,
      mostVcpus: count,
      direct() {},
      vcpus: count,
      commandLine: options.commandLine ?? '',
    };
  }

  plugVirtio(placement: VirtioPlacement): void {
    this.virtioPlacement = placement;
  }
  virtioDevices(signals: VirtioSignals): readonly VirtioDevice[] {
    return this.#options.virtio?.(signals) ?? [];
  }
  cpuid(leaf: number, _subleaf: number): { eax: number; ebx: number; ecx: number; edx: number } {
    return this.#options.cpuid?.[leaf] ?? { eax: 0, ebx: 0, ecx: 0, edx: 0 };
  }
  /** All memory is RAM, and there are no tables. */
  firmware(): FirmwareTables {
    return { memoryMap: [{ first: 0, sizeBytes: this.platform.memoryBytes, kind: 'ram' }] };
  }
  claimPorts(_name: string, firstPort: number, ports: number, device: PortDevice): void {
    this.ports.push({ firstPort, ports, device });
  }
  plugPci(device: PciDevice): PciConnection {
    const plugged = { device, asserted: false };
    this.plugged.push(plugged);
    return {
      setInterrupt: (asserted) => {
        plugged.asserted = asserted;
      },
    };
  }
  aliasPage(gpa: number, targetGpa: number | undefined): void {
    if (targetGpa === undefined) this.aliases.delete(gpa);
    else this.aliases.set(gpa, targetGpa);
  }
  describeBoot(descriptor: BootDescriptor): void {
    this.bootDescriptor = descriptor;
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
