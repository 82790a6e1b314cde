import { readMemory, writeMemory } from '../../bus/cycles.ts';
import type { MmioDevice } from '../../bus/device.ts';
import { MmioBus } from '../../bus/mmio-bus.ts';
import { DeliveryMode } from '../../devices/apic-bus/message.ts';
import { ApicMsrs } from '../../devices/lapic/apic-msrs.ts';
import type { LocalApic } from '../../devices/lapic/local-apic.ts';
import { xapicPage } from '../../devices/lapic/xapic-page.ts';
import { TimeStampCounter } from '../tsc.ts';

/** What interrupts a vCPU from outside. */
export interface InterruptSource {
  /** INTR is asserted. */
  hasDeliverable(): boolean;
  /** The vector of the interrupt, which is then in service. */
  acknowledge(): number;
}

const APIC_PAGE_BYTES = 4096;
/** MAXPHYADDR, as CPUID leaf 80000008 says. */
export const PHYSICAL_ADDRESS_BITS = 40;

/** The platform as one processor sees it: its own local APIC, and what all share. */
export class ProcessorPlatform {
  /** `undefined`: no interrupt controller leads here. */
  readonly interrupts: InterruptSource | undefined;
  readonly #mmio: MmioBus;
  readonly #apic: LocalApic | undefined;
  readonly #apicMsrs: ApicMsrs | undefined;
  readonly #apicPage: MmioDevice | undefined;
  #apicGpa: number | undefined;

  readonly tsc: TimeStampCounter;

  /** `interrupts` counts where there is no local APIC. */
  constructor(parts: {
    readonly mmio: MmioBus;
    readonly tsc: TimeStampCounter;
    readonly apic?: LocalApic | undefined;
    readonly interrupts?: InterruptSource | undefined;
  }) {
    const { apic, interrupts } = parts;
    this.#mmio = parts.mmio;
    this.tsc = parts.tsc;
    this.#apic = apic;
    this.interrupts = apic ?? interrupts;
    if (!apic) return;
    this.#apicPage = xapicPage(apic);
    this.#apicGpa = apic.pageGpa;
    this.#apicMsrs = new ApicMsrs(apic, {
      x2apic: true,
      physicalAddressBits: PHYSICAL_ADDRESS_BITS,
      baseChanged: () => {
        this.#apicGpa = apic.pageGpa;
      },
    });
  }

  /** A processor by itself, whose time stands still. */
  static withoutChips(): ProcessorPlatform {
    const clock = {
      nowNs: () => 0,
      coarseNs: () => 0,
      tsc: () => 0n,
      tscHz: 1,
      startEpochNs: 0n,
      at: () => ({ cancel: () => {} }),
    };
    return new ProcessorPlatform({ mmio: new MmioBus(), tsc: new TimeStampCounter(clock) });
  }

  get hasLocalApic(): boolean {
    return this.#apic !== undefined;
  }
  /** A fixed interrupt, edge triggered, that is for this processor alone; `false`: its local APIC does not accept it. */
  requestInterrupt(vector: number): boolean {
    if (!this.#apic) return false;
    const destination = this.#apic.id;
    const fixed = { deliveryMode: DeliveryMode.FIXED, level: false, asserted: true };
    return this.#apic.receive({ ...fixed, vector, destination, logical: false });
  }

  /** IA32_APIC_BASE has the local APIC on: CPUID.1:EDX.APIC shows it. */
  get apicEnabled(): boolean {
    return this.#apic?.enabled ?? false;
  }

  /** Where the registers of the local APIC are; `undefined`: none, off, or in x2APIC mode. */
  get apicGpa(): number | undefined {
    return this.#apicGpa;
  }
  timerInterrupt(): void {
    this.#apic?.timerInterrupt();
  }

  /** CR8: the task-priority class; without a local APIC it is a register and nothing else. */
  get taskPriority(): number {
    return this.#apic?.cr8 ?? this.#keptPriority;
  }
  set taskPriority(priority: number) {
    this.#keptPriority = priority;
    if (this.#apic) this.#apic.cr8 = priority;
  }
  #keptPriority = 0;

  hasMsr(index: number): boolean {
    return this.#apicMsrs?.has(index) ?? false;
  }
  /** `undefined`: #GP(0). */
  readMsr(index: number): bigint | undefined {
    return this.#apicMsrs?.read(index);
  }
  /** `false`: #GP(0). */
  writeMsr(index: number, value: bigint): boolean {
    return this.#apicMsrs?.write(index, Number(value & 0xffffffffn), Number(value >> 32n)) ?? false;
  }

  /** An access to device memory: little-endian bytes. Its own local APIC comes before everything else there. */
  readMmio(gpa: number, into: Uint8Array): void {
    const offset = this.#apicOffset(gpa, into.length);
    if (offset === undefined) this.#mmio.read(gpa, into);
    else readMemory(this.#apicPage as MmioDevice, offset, into);
  }
  writeMmio(gpa: number, bytes: Uint8Array): void {
    const offset = this.#apicOffset(gpa, bytes.length);
    if (offset === undefined) this.#mmio.write(gpa, bytes);
    else writeMemory(this.#apicPage as MmioDevice, offset, bytes);
  }
  #apicOffset(gpa: number, sizeBytes: number): number | undefined {
    if (this.#apicGpa === undefined) return undefined;
    const offset = gpa - this.#apicGpa;
    return offset >= 0 && offset + sizeBytes <= APIC_PAGE_BYTES ? offset : undefined;
  }
}
