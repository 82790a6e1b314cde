import {
  type BlockBackend,
  type BootRequest,
  type ConsolePort,
  type FirmwareTables,
  type PlatformDefinition,
  type Machine as PluginMachine,
  PolyvisorError,
} from '@polyvisor/plugin-api';
import { CORE } from '../loader/boot/doors.ts';
import { BIOS_DOORS, bootNatively } from '../loader/boot/index.ts';
import type { MemoryMap } from '../loader/boot/memory-map.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import type { BiosHost } from './bios/call.ts';
import { DataArea } from './bios/data-area.ts';
import { MOST_DISKS } from './bios/disk.ts';
import { leaveBiosBehind } from './bios/rom.ts';
import { answerBiosCall } from './bios/services.ts';
import type { MachineMemory } from './guest-memory.ts';
import type { NativeMachine } from './native/context.ts';
import { firmwareMtrrs } from './native/memory-types.ts';
import type { MachineOptions } from './options.ts';
import { MTRR_DEVICES, memoryMapOf, placeAcpiTables } from './platform/firmware.ts';
import type { PcPlatform } from './platform/pc.ts';
import type { MachineVcpu } from './vcpu.ts';

/** What starting a guest needs of the machine. */
interface StartHost {
  readonly calls: Pick<PluginCalls, 'boot'>;
  readonly platform: PlatformDefinition;
  readonly memory: MachineMemory;
  readonly console: ConsolePort;
  readonly disks: readonly BlockBackend[];
  readonly vcpus: readonly MachineVcpu[];
  readonly pc: PcPlatform;
  readonly native: NativeMachine;
}

/** How a guest comes to its first instruction: through a plug-in, or by what a PC's firmware does. */
export class GuestStart {
  readonly #host: StartHost;
  #firmware: FirmwareTables | undefined;
  /** What the BIOS's services work with, where there is one. */
  #bios: BiosHost | undefined;

  constructor(host: StartHost) {
    this.#host = host;
  }

  /** Let the plug-ins boot the image, or core its own doors. Throws PV2010 where nobody does. */
  boot(machine: PluginMachine, { image, commandLine, initrd, bootModules }: MachineOptions): void {
    const { calls, platform } = this.#host;
    const { entry, memoryBytes } = platform;
    const request: BootRequest = {
      ...{ image, entry, commandLine, memoryBytes },
      ...(initrd ? { initrd } : {}),
      ...(bootModules && { modules: bootModules }),
    };
    if (calls.boot(request, machine)) return;
    if (entry.plugin === CORE) {
      this.#bootNatively(request);
      return;
    }
    throw new PolyvisorError(
      'PV2010',
      `nobody starts ${image.name} through its door ${entry.name}`,
      `load plug-in ${entry.plugin}`,
      3,
    );
  }

  /** What firmware leaves behind, then the image's boot protocol. */
  #bootNatively(request: BootRequest): void {
    const { memoryMap, rsdpAddress } = this.firmware();
    if (BIOS_DOORS.has(request.entry.name)) this.#startBios(memoryMap);
    bootNatively(request, {
      memory: this.#host.memory,
      vcpu: this.#host.vcpus[0],
      disks: this.#host.disks,
      memoryMap,
      ...(rsdpAddress !== undefined && { rsdpAddress }),
    });
  }

  #startBios(memoryMap: MemoryMap): void {
    const { memory, pc, console, native } = this.#host;
    leaveBiosBehind(memory, pc.ports);
    const disks = this.#host.disks.slice(0, MOST_DISKS);
    memory.write8(DataArea.diskCount, disks.length);
    const print = (byte: number) => {
      pc.flush();
      console.write(Uint8Array.of(byte));
    };
    this.#bios = { memory, memoryMap, disks, print, ...native };
  }
  /** A VMCALL at CPL 0; true: it was one of the BIOS's, and is done. */
  biosCall(vcpu: MachineVcpu): boolean {
    return this.#bios !== undefined && answerBiosCall(vcpu, this.#bios);
  }

  /** Do what firmware does before a guest starts, once. */
  firmware(): FirmwareTables {
    this.#firmware ??= this.#runFirmware();
    return this.#firmware;
  }
  #runFirmware(): FirmwareTables {
    const { pc, vcpus, platform, memory } = this.#host;
    pc.initialiseLikeFirmware();
    for (const vcpu of vcpus) for (const [index, value] of firmwareMtrrs(MTRR_DEVICES)) vcpu.msrs.set(index, value);
    const memoryMap = memoryMapOf(platform.memoryBytes, memory.sizeBytes);
    const description = pc.describe();
    return { memoryMap, ...(description && { rsdpAddress: placeAcpiTables(description, memory) }) };
  }
}
