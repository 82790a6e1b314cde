import { ByteReader } from './byte-reader.ts';

/** Offsets in file and zero page alike (Linux, Documentation/arch/x86/boot.rst, "Details of header fields"). */
export const SetupField = {
  start: 0x1f1,
  setupSects: 0x1f1,
  jump: 0x200,
  version: 0x206,
  typeOfLoader: 0x210,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLinePointer: 0x228,
  initrdAddressMax: 0x22c,
  xloadFlags: 0x236,
  commandLineSize: 0x238,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;
const SECTOR_BYTES = 512;
/** setup_sects is 0 in ancient images and then means 4. */
const DEFAULT_SETUP_SECTS = 4;
const XLF_KERNEL_64 = 1;
/** Protocols that brought pref_address and init_size, and xloadflags. */
export const PROTOCOL_WITH_INIT_SIZE = 0x20a;
export const PROTOCOL_WITH_XLOADFLAGS = 0x20c;

/** What a boot protocol needs of a bzImage's setup header. Every value is untrusted. */
export interface SetupHeader {
  readonly protocol: number;
  /** The header as it is copied into the zero page: from {@link SetupField.start} on. */
  readonly bytes: Uint8Array;
  /** The protected-mode code: all of the file after the real-mode code. */
  readonly code: Uint8Array;
  readonly has64BitEntry: boolean;
  readonly prefAddress: bigint;
  /** Memory that the kernel needs, from its load address on, before it looks at the memory map. */
  readonly initSizeBytes: number;
  /** Highest address that the initrd's last byte may have. */
  readonly initrdAddressMax: number;
  /** Longest command line without its NUL. */
  readonly commandLineSizeBytes: number;
}

/** @throws PolyvisorError PV2001 if the header lies outside the file. `file` is a bzImage. */
export function readSetupHeader(file: Uint8Array): SetupHeader {
  const reader = new ByteReader(file);
  const protocol = reader.u16(SetupField.version, 'bzImage protocol version');
  const setupSects = reader.u8(SetupField.setupSects, 'bzImage setup_sects') || DEFAULT_SETUP_SECTS;
  const codeAt = (setupSects + 1) * SECTOR_BYTES;
  // The jump instruction's operand says where the header ends ("Details of header fields", jump).
  const endsAt = SetupField.jump + 2 + reader.u8(SetupField.jump + 1, 'bzImage jump');
  const sized = protocol >= PROTOCOL_WITH_INIT_SIZE;
  const flagged = protocol >= PROTOCOL_WITH_XLOADFLAGS;
  return {
    protocol,
    bytes: reader.slice(SetupField.start, endsAt - SetupField.start, 'bzImage setup header'),
    code: reader.slice(codeAt, file.length - codeAt, 'bzImage protected-mode code'),
    has64BitEntry: flagged && (reader.u16(SetupField.xloadFlags, 'bzImage xloadflags') & XLF_KERNEL_64) !== 0,
    prefAddress: sized ? reader.u64(SetupField.prefAddress, 'bzImage pref_address') : 0n,
    initSizeBytes: sized ? reader.u32(SetupField.initSize, 'bzImage init_size') : 0,
    initrdAddressMax: reader.u32(SetupField.initrdAddressMax, 'bzImage initrd_addr_max'),
    commandLineSizeBytes: reader.u32(SetupField.commandLineSize, 'bzImage cmdline_size'),
  };
}
