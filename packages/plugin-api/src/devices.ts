/**
 * The host's ends of a guest's devices. Which ring or register file carries their requests is the business of a
 * transport: a plug-in's rings, or virtio. One back end serves one guest at a time.
 */
export interface Devices {
  /** In the order of the command line. */
  readonly disks: readonly BlockBackend[];
  readonly nics: readonly NetworkBackend[];
  readonly shares: readonly ShareBackend[];
  /** `undefined`: none is offered to the guest. */
  readonly entropy?: EntropyBackend;
}

/** Unit of a block device's offsets and sizes, bytes. */
export const SECTOR_BYTES = 512;

/** A disk. Requests are carried out before the call returns. */
export interface BlockBackend {
  /** A short name for messages and serial numbers: the file's base name. */
  readonly name: string;
  /** A multiple of {@link SECTOR_BYTES}. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /**
   * Fill `into` from `offsetBytes`. `false`: an I/O error (the host's file failed or got shorter), `into` undefined.
   * A range that is not inside the disk is refused as an I/O error too.
   */
  read(offsetBytes: number, into: Uint8Array): boolean;
  /** `false`: an I/O error, or the disk is read-only; what has been written is undefined. */
  write(offsetBytes: number, bytes: Uint8Array): boolean;
  /** What was written before is on stable storage when this answers `true`. */
  flush(): boolean;
}

/** The host's end of an Ethernet link. Frames have no preamble and no frame check sequence (IEEE 802.3, 3.1.1). */
export interface NetworkBackend {
  /** The guest's address, six bytes. */
  readonly mac: Uint8Array;
  /** Largest payload of a frame, bytes. */
  readonly mtu: number;
  /** A frame from the guest; the back end keeps no reference to it. What it cannot use it drops. */
  send(frame: Uint8Array): void;
  /**
   * Who takes frames for the guest, from now on; an earlier taker, and what was open for it, is forgotten. The taker
   * answers `false` when it has no room; the back end then keeps the frame and waits for {@link resume}.
   */
  onReceive(take: (frame: Uint8Array) => boolean): void;
  /** The taker has room again. */
  resume(): void;
}

/** A folder of the host's, served as 9P2000.L. */
export interface ShareBackend {
  /** Name by which the guest mounts it. */
  readonly tag: string;
  /** A new session; one for each connection of the guest's. */
  connect(): ShareSession;
}

export interface ShareSession {
  /** Largest message either way, bytes, as negotiated by Tversion so far. */
  readonly maxMessageBytes: number;
  /**
   * Carry out one request (size[4] type[1] tag[2] …, 9P2000.L) and answer the reply: always a whole message, Rlerror
   * for whatever cannot be understood. At least seven bytes are needed for a tag; shorter ones are answered with NOTAG.
   */
  request(message: Uint8Array): Uint8Array;
  /** Let go of everything that is open. */
  close(): void;
}

export interface EntropyBackend {
  /** Fill with random bytes. */
  fill(into: Uint8Array): void;
}

/** A machine without devices. */
export const NO_DEVICES: Devices = { disks: [], nics: [], shares: [] };

/** What a virtio device tells its bus. `device` is its index in the list. */
export interface VirtioSignals {
  /** Header of a block request; 16 unless the guest's drivers are older than 0.9.5 and have more behind the sector. */
  readonly blockHeaderBytes?: number;
  /** A queue holds something for the driver, which wants to be told. */
  queue(device: number, queue: number): void;
  /** The configuration has changed, or the device has given up ({@link VirtioDevice.needsReset}). */
  config(device: number): void;
}

/** Where a plug-in has virtio devices put on the PCI bus. `device` is an index in the order of the list. */
export interface VirtioPlacement {
  /** The registers of all lie in this range of guest-physical memory, above RAM; each takes 16 KiB. */
  readonly firstGpa: number;
  readonly sizeBytes: number;
  /** What stands in a function's interrupt line register. */
  irqOf(device: number): number;
  /** The level of its interrupt pin has changed. */
  interrupt(device: number, asserted: boolean): void;
}

/**
 * A virtio device as drivers of the interface of 0.9.5 use it, without a bus (Virtio 1.2, 2 and 2.7.2): a plug-in brings
 * registers or descriptors, interrupts, and memory for the rings. All that the guest puts into a ring is checked here.
 */
export interface VirtioDevice {
  readonly name: string;
  /** Device type (Virtio 1.2, 5): 1 network card, 2 block, 3 console, 4 entropy, 9 9P. */
  readonly type: number;
  /** Feature bits 0 to 31 that are offered. */
  readonly features: number;
  /** Entries of each queue, a power of two. */
  readonly queueSizes: readonly number[];
  /** Device configuration, as it is now. */
  readonly config: Uint8Array;
  /** The guest has broken a queue: the device does nothing until it is reset. */
  readonly needsReset: boolean;
  /** Say where the rings of a queue lie, guest-physical, a multiple of 4096: descriptors, available ring, used ring on a page of its own. */
  placeQueue(queue: number, gpa: number): void;
  /** The driver has accepted these features and is ready, or, as old ones do, uses the device before it says so. */
  start(features: number): void;
  /** Forget driver, features and queues. */
  reset(): void;
  /** The driver has put something into a queue. Ignored before {@link start}. */
  notify(queue: number): void;
}
