import type { Machine, PluginHost, Vcpu } from '@polyvisor/plugin-api';
import { Alarms } from './calls/alarms.ts';
import { Cell } from './calls/cells.ts';
import { PageTypes } from './mmu/page-types.ts';
import { PendingUpdates } from './mmu/pending-updates.ts';
import type { VmiRom } from './rom/header.ts';
import { ROM_AREA } from './rom/header.ts';

/** A range of the guest's address space that it calls linear (VMI_SetLinearMapping). */
export interface LinearMapping {
  readonly gva: number;
  readonly pages: number;
  readonly pfn: number;
}

/** One guest with a ROM: what its calls have told so far. */
export class VmiGuest {
  readonly host: PluginHost;
  readonly machine: Machine;
  readonly rom: VmiRom;
  readonly pageTypes: PageTypes;
  readonly pending: PendingUpdates;
  /** By vCPU. */
  readonly #alarms: readonly Alarms[];
  /** By slot; see {@link LinearMapping}. */
  readonly linearMappings: (LinearMapping | undefined)[] = [];
  alarmsOf({ id }: Vcpu): Alarms {
    return this.#alarms[id];
  }
  /** A vCPU's; 0: none, 1: of the MMU, 2: of the CPU (VMI_SetLazyMode). Generated code sets it, too. */
  setLazyMode({ directState }: Vcpu, mode: number): void {
    directState.cells[2 * Cell.LAZY_MODE] = mode;
  }
  /** Linear address at which the guest has called the ROM last. */
  get romGva(): number | undefined {
    return this.#romGva;
  }
  #romGva: number | undefined;

  constructor(host: PluginHost, machine: Machine, rom: VmiRom) {
    this.host = host;
    this.machine = machine;
    this.rom = rom;
    this.pageTypes = new PageTypes(Math.floor(machine.memory.sizeBytes / 4096));
    this.pending = new PendingUpdates(machine.memory);
    this.#alarms = machine.vcpus.map((vcpu) => new Alarms(machine, vcpu));
    machine.memory.writeBytes(ROM_AREA.first, rom.bytes);
  }

  /** Whether a vCPU of this guest stands in the ROM. */
  isInRom(rip: number, toGpa: () => number | undefined): boolean {
    const { length } = this.rom.bytes;
    if (this.#romGva !== undefined && rip >= this.#romGva && rip < this.#romGva + length) return true;
    const gpa = toGpa();
    if (gpa === undefined || gpa < ROM_AREA.first || gpa >= ROM_AREA.first + length) return false;
    this.#romGva = rip - (gpa - ROM_AREA.first);
    return true;
  }

  stop(): void {
    for (const alarms of this.#alarms) alarms.stop();
  }
}
