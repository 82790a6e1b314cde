/** What the tables tell of a machine. A chip that is absent is left out of them. */
export interface AcpiPlatform {
  readonly vcpus: number;
  /** The fixed hardware; without it the platform is hardware-reduced (ACPI 6.3, 4.1). */
  readonly fixedHardware?: {
    readonly sciIrq: number;
    /** First of its ports (spec.ts, PM_PORTS). */
    readonly port: number;
  };
  readonly localApicAddress?: number;
  readonly ioApic?: { readonly id: number; readonly address: number };
  /** The 8259 pair is there too. */
  readonly pic: boolean;
  readonly pit: boolean;
  readonly rtc: boolean;
  readonly keyboardController: boolean;
  readonly uart?: { readonly port: number; readonly ports: number; readonly irq: number };
  readonly hpet?: { readonly address: number; readonly sizeBytes: number; readonly blockId: number };
  readonly resetPort?: { readonly port: number; readonly value: number };
  readonly pci?: AcpiPciBus;
}

export interface AcpiPciBus {
  readonly memory: { readonly first: number; readonly sizeBytes: number };
  /** Global system interrupts of the four wires at the I/O APIC, and their IRQs at the 8259 pair. */
  readonly gsiOfWire: readonly number[];
  readonly irqOfWire: readonly number[];
  /** Which wire a device's pin (0 is INTA) leads to. */
  wireOf(device: number, pin: number): number;
}
