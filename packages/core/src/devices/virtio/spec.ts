/** Virtio 1.2: device types (5), status bits (2.1), features (6). */
export const DeviceType = { NET: 1, BLOCK: 2, CONSOLE: 3, ENTROPY: 4, NINEP: 9 } as const;

export const DeviceStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 0x40,
  FAILED: 0x80,
} as const;

/** Feature bits by number. */
export const Feature = {
  /** 0.9.5 only: descriptors may be cut anywhere. */
  ANY_LAYOUT: 27,
  RING_INDIRECT_DESC: 28,
  RING_EVENT_IDX: 29,
  VERSION_1: 32,
} as const;

/** Split rings (2.7). Offsets and sizes in bytes. */
export const Descriptor = { ADDRESS: 0, LENGTH: 8, FLAGS: 12, NEXT: 14, BYTES: 16 } as const;
export const DescriptorFlag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
/** The same for the available and the used ring: flags, index, entries, then the other side's event index. */
export const Ring = { FLAGS: 0, INDEX: 2, ENTRIES: 4 } as const;
export const AVAILABLE_ENTRY_BYTES = 2;
export const USED_ENTRY_BYTES = 8;
/** VIRTQ_AVAIL_F_NO_INTERRUPT and VIRTQ_USED_F_NO_NOTIFY. */
export const NO_EVENTS = 1;
