import { ByteReader } from './byte-reader.ts';

/** Offsets in file and zero page alike (Linux, Documentation/arch/x86/boot.rst, "Details of header fields"). */
export const SetupField = {
  start: 0x1f1,
  setupSects: 0x1f1,
  bootFlag: 0x1fe,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  typeOfLoader: 0x210,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  commandLinePointer: 0x228,
  initrdAddressMax: 0x22c,
  relocatable: 0x234,
  xloadFlags: 0x236,
  commandLineSize: 0x238,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  prefAddress: 0x258,
  initSize: 0x260,
} as const;
const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448;
const SECTOR_BYTES = 512;
/** setup_sects is 0 in ancient images and then means 4. */
const DEFAULT_SETUP_SECTS = 4;
/** The setup code begins with a short jump over the header: opcode EB, distance (SDM vol. 2A, "JMP"). */
const JMP_REL8 = 0xeb;
const JMP_REL8_BYTES = 2;
const XLF_KERNEL_64 = 1;
/** Protocols that brought relocatable_kernel; payload_offset; pref_address and init_size; xloadflags. */
const PROTOCOL_WITH_RELOCATABLE = 0x205;
const PROTOCOL_WITH_PAYLOAD = 0x208;
const PROTOCOL_WITH_INIT_SIZE = 0x20a;
export const PROTOCOL_WITH_XLOADFLAGS = 0x20c;

/** The setup header of a bzImage. Every value is untrusted. */
export interface SetupHeader {
  readonly protocol: number;
  /** The header as it is copied into the zero page: from {@link SetupField.start} on. */
  readonly bytes: Uint8Array;
  /** The protected-mode code: all of the file after the real-mode code. */
  readonly code: Uint8Array;
  /** Where the 16-bit entry at file offset 0x200 jumps to, as a file offset; `undefined`: there is no short jump. */
  readonly setupJumpTarget: number | undefined;
  /** Pointer to the version text, less 0x200. 0: none. */
  readonly kernelVersion: number;
  /** Where 32-bit code begins if the image is loaded where it wants to be, gpa. */
  readonly code32Start: number;
  readonly relocatable: boolean;
  readonly has64BitEntry: boolean;
  /** The compressed kernel in {@link code}; `undefined`: the protocol does not say. */
  readonly payload: { readonly offset: number; readonly sizeBytes: number } | undefined;
  readonly prefAddress: bigint;
  /** Memory that the kernel needs, from its load address on, before it looks at the memory map. */
  readonly initSizeBytes: number;
  /** Highest address that the initrd's last byte may have. */
  readonly initrdAddressMax: number;
  /** Longest command line without its NUL. */
  readonly commandLineSizeBytes: number;
}

export function isBzImage(bytes: Uint8Array): boolean {
  if (bytes.length < SetupField.version + 2) return false;
  const reader = new ByteReader(bytes);
  return reader.u16(SetupField.bootFlag, 'boot flag') === BOOT_FLAG && reader.u32(SetupField.magic, 'header') === HDRS;
}

/** @throws PolyvisorError PV2001 if the header lies outside the file. `file` is a bzImage. */
export function readSetupHeader(file: Uint8Array): SetupHeader {
  const reader = new ByteReader(file);
  const protocol = reader.u16(SetupField.version, 'bzImage protocol version');
  const setupSects = reader.u8(SetupField.setupSects, 'bzImage setup_sects') || DEFAULT_SETUP_SECTS;
  const codeAt = (setupSects + 1) * SECTOR_BYTES;
  const [opcode, distance] = reader.slice(SetupField.jump, JMP_REL8_BYTES, 'bzImage jump');
  // The jump instruction's operand says where the header ends ("Details of header fields", jump).
  const endsAt = SetupField.jump + JMP_REL8_BYTES + distance;
  const has = (since: number) => protocol >= since;
  return {
    protocol,
    bytes: reader.slice(SetupField.start, endsAt - SetupField.start, 'bzImage setup header'),
    code: reader.slice(codeAt, file.length - codeAt, 'bzImage protected-mode code'),
    setupJumpTarget: opcode === JMP_REL8 ? SetupField.jump + JMP_REL8_BYTES + ((distance << 24) >> 24) : undefined,
    kernelVersion: reader.u16(SetupField.kernelVersion, 'bzImage kernel_version'),
    code32Start: reader.u32(SetupField.code32Start, 'bzImage code32_start'),
    relocatable: has(PROTOCOL_WITH_RELOCATABLE) && reader.u8(SetupField.relocatable, 'bzImage relocatable') !== 0,
    has64BitEntry:
      has(PROTOCOL_WITH_XLOADFLAGS) && (reader.u16(SetupField.xloadFlags, 'bzImage xloadflags') & XLF_KERNEL_64) !== 0,
    payload: has(PROTOCOL_WITH_PAYLOAD)
      ? {
          offset: reader.u32(SetupField.payloadOffset, 'bzImage payload_offset'),
          sizeBytes: reader.u32(SetupField.payloadLength, 'bzImage payload_length'),
        }
      : undefined,
    prefAddress: has(PROTOCOL_WITH_INIT_SIZE) ? reader.u64(SetupField.prefAddress, 'bzImage pref_address') : 0n,
    initSizeBytes: has(PROTOCOL_WITH_INIT_SIZE) ? reader.u32(SetupField.initSize, 'bzImage init_size') : 0,
    initrdAddressMax: reader.u32(SetupField.initrdAddressMax, 'bzImage initrd_addr_max'),
    commandLineSizeBytes: reader.u32(SetupField.commandLineSize, 'bzImage cmdline_size'),
  };
}
