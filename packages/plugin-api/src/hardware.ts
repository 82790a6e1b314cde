/**
 * Devices that a plug-in adds to the PC, and what firmware tells of it. Offsets are bytes from the start of the range
 * that the device was placed at.
 */

/**
 * A device behind I/O ports.
 *
 * The bus makes of each IN or OUT as many cycles as the device needs, lowest address first: an access wider than
 * {@link cycleBytes}, one that is not aligned, and one that reaches beyond the device's range are split, as the ISA
 * bridge does for a device that does not assert IOCS16# (ISA bus specification, "data bus steering").
 * So `sizeBytes` never exceeds `cycleBytes`, and `offset` is a multiple of `sizeBytes`.
 */
export interface PortDevice {
  /** The widest cycle it decodes. 1 for the chips of the PC/AT, 4 for PCI configuration. */
  readonly cycleBytes: 1 | 2 | 4;
  /** An unsigned value of `sizeBytes` bytes. */
  readPort(offset: number, sizeBytes: number): number;
  /** @param value unsigned, `sizeBytes` bytes wide */
  writePort(offset: number, sizeBytes: number, value: number): void;
}

/**
 * A device behind guest-physical addresses.
 *
 * `sizeBytes` is 1, 2 or 4 and `offset` a multiple of it: the bus splits what is not aligned, lowest address first.
 * An aligned access of 8 bytes goes to `readMmio64`/`writeMmio64` where the device has them, else it becomes two of 4.
 */
export interface MmioDevice {
  /** An unsigned value of `sizeBytes` bytes. */
  readMmio(offset: number, sizeBytes: number): number;
  /** @param value unsigned, `sizeBytes` bytes wide */
  writeMmio(offset: number, sizeBytes: number, value: number): void;
  /** For registers of 64 bits that must not be read in two halves. */
  readMmio64?(offset: number): bigint;
  writeMmio64?(offset: number, value: bigint): void;
}

/** A function on PCI bus 0 (PCI 3.0, 6.2). Sizes of BARs are powers of two: at least 16 bytes, 4 ports. */
export interface PciDevice {
  /** For messages. */
  readonly name: string;
  readonly identity: {
    readonly vendorId: number;
    readonly deviceId: number;
    readonly revision?: number;
    /** Base class, sub-class, programming interface: `0x020000` is an Ethernet controller. */
    readonly classCode: number;
    readonly subsystemVendorId?: number;
    readonly subsystemId?: number;
  };
  /** By BAR number. */
  readonly bars: Readonly<Record<number, PciDeviceBar>>;
  /** INTA to INTD are 1 to 4; absent: no pin. */
  readonly interruptPin?: 1 | 2 | 3 | 4;
}

export type PciDeviceBar =
  | {
      readonly kind: 'memory32';
      readonly sizeBytes: number;
      readonly prefetchable?: boolean;
      readonly device: MmioDevice;
    }
  | { readonly kind: 'io'; readonly sizeBytes: number; readonly device: PortDevice };

/** A plugged device's end of the bus. */
export interface PciConnection {
  /** Level of its interrupt pin; not driven while the guest has disabled it in the command register. */
  setInterrupt(asserted: boolean): void;
}

/** A range of guest-physical memory, as firmware tells it. */
export interface MemoryRegion {
  readonly first: number;
  readonly sizeBytes: number;
  readonly kind: 'ram' | 'reserved' | 'acpi';
}

/** What firmware leaves for who starts the guest. */
export interface FirmwareTables {
  /** Sorted by address; no two overlap. */
  readonly memoryMap: readonly MemoryRegion[];
  /** Guest-physical address of ACPI's RSDP, if there are tables. */
  readonly rsdpAddress?: number;
}

/**
 * Who runs the guest, and as what: the same few words for every hypervisor interface and for none. A guest reads them
 * with CPUID (docs/plugin-authoring.md, "The boot descriptor").
 */
export interface BootDescriptor {
  /** The interface, 1 to 12 characters of ASCII: a plug-in's name, or `none`. */
  readonly hypervisor: string;
  /** What the guest is to it, 1 to 12 characters of ASCII. */
  readonly guestType: string;
  /** Of the interface: major version above 65,535, minor below. */
  readonly abiVersion: number;
  /** Where the interface's own data for the guest begins, if it has any. */
  readonly data?: { readonly address: bigint; readonly space: 'physical' | 'virtual' };
}
