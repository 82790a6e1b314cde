/** Where the chips of the PC are (ISA and ACPI conventions; Intel 82371SB PIIX3 data sheet, 290550-002, table 1). */
export const Port = {
  picMaster: 0x20,
  pit: 0x40,
  systemControlB: 0x61,
  rtc: 0x70,
  systemControlA: 0x92,
  picSlave: 0xa0,
  uart: 0x3f8,
  elcr: 0x4d0,
  powerManagement: 0x600,
} as const;

export const Irq = { timer: 0, keyboard: 1, uart: 4, rtc: 8, sci: 9, mouse: 12 } as const;
/** Input of the I/O APIC that the 8254 drives; all other ISA interrupts have the number of their IRQ. */
export const TIMER_GSI = 2;
/** The PCI wires A to D at the I/O APIC, and at the 8259 pair. */
export const PCI_GSI = [16, 17, 18, 19] as const;
export const PCI_IRQ = [10, 11, 10, 11] as const;

export const Address = { ioApic: 0xfec00000, hpet: 0xfed00000, localApic: 0xfee00000 } as const;
export const IO_APIC_ID = 0;

/** Where firmware puts base address registers: above all RAM that a machine can have, below the I/O APIC. */
export const PCI_MEMORY = { first: 0xe0000000, sizeBytes: 0xfec00000 - 0xe0000000 } as const;
export const PCI_PORTS = { first: 0xc000, sizeBytes: 0x4000 } as const;

/** Conventional memory ends where the extended BIOS data area would be. */
export const LOW_MEMORY_END = 0x9fc00;
/** Firmware's tables: where a guest looks for the RSDP, in reserved memory. */
export const FIRMWARE = { first: 0xe0000, sizeBytes: 0x20000 } as const;
export const HIGH_MEMORY = 0x100000;
