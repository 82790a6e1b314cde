/** Configuration space of a function with header type 0 (PCI Local Bus Specification 3.0, 6.1). */
export const Config = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
  /** Where device-specific registers begin: the first capability. */
  deviceSpecific: 0x40,
} as const;
export const CONFIG_BYTES = 256;
export const BAR_COUNT = 6;
export const HEADER_MULTI_FUNCTION = 0x80;

/** 6.2.2. */
export const Command = {
  ioSpace: 1 << 0,
  memorySpace: 1 << 1,
  busMaster: 1 << 2,
  parityErrorResponse: 1 << 6,
  serr: 1 << 8,
  interruptDisable: 1 << 10,
} as const;
/** 6.2.3. */
export const Status = { interrupt: 1 << 3, capabilities: 1 << 4 } as const;

/** Type bits of a base address register (6.2.5.1). */
export const BarType = { io: 1, memory64: 4, prefetchable: 8 } as const;

/** Capability identifiers (appendix H). */
export const CapabilityId = { msi: 0x05, vendorSpecific: 0x09, msix: 0x11 } as const;

/** Message Control of MSI (6.8.1.3). */
export const MsiControl = { enable: 1 << 0, capableShift: 1, enabledShift: 4, address64: 1 << 7 } as const;
/** Message Control of MSI-X (6.8.2.3) and a table entry's Vector Control (6.8.2.9). */
export const MsixControl = { functionMask: 1 << 14, enable: 1 << 15 } as const;
export const MSIX_ENTRY_BYTES = 16;
export const MsixEntry = { address: 0, data: 8, vectorControl: 12, masked: 1 } as const;

/** CONFIG_ADDRESS (3.2.2.3.2). */
export const CONFIG_ADDRESS_PORT = 0xcf8;
export const CONFIG_DATA_PORT = 0xcfc;
export const CONFIG_ENABLE = 0x80000000;
