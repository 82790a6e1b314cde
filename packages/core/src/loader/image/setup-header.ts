import { ByteReader } from './byte-reader.ts';

/**
 * The setup header of a Linux kernel file: its fields, each with the boot protocol that brought it. Offsets hold in the
 * file and in the zero page alike (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
 */
const Field = {
  setupSects: { at: 0x1f1, since: 0x000 },
  bootFlag: { at: 0x1fe, since: 0x000 },
  jump: { at: 0x200, since: 0x200 },
  magic: { at: 0x202, since: 0x200 },
  protocol: { at: 0x206, since: 0x200 },
  kernelVersion: { at: 0x20e, since: 0x200 },
  loadFlags: { at: 0x211, since: 0x200 },
  code32Start: { at: 0x214, since: 0x200 },
  initrdAddressMax: { at: 0x22c, since: 0x203 },
  relocatable: { at: 0x234, since: 0x205 },
  xloadflags: { at: 0x236, since: 0x20c },
  commandLineSize: { at: 0x238, since: 0x206 },
  payloadOffset: { at: 0x248, since: 0x208 },
  payloadLength: { at: 0x24c, since: 0x208 },
  prefAddress: { at: 0x258, since: 0x20a },
  initSize: { at: 0x260, since: 0x20a },
} as const;

/** What a loader fills in, in its copy of the header. */
export const LoaderField = {
  videoMode: 0x1fa,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEndPointer: 0x224,
  commandLinePointer: 0x228,
} as const;

/** Where the header begins, in file and zero page. */
export const SETUP_HEADER_AT = Field.setupSects.at;

const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448;
const SECTOR_BYTES = 512;
/** setup_sects is 0 in ancient images and then means 4. */
const DEFAULT_SETUP_SECTS = 4;
/** The setup code begins with a short jump over the header: opcode EB, distance (SDM vol. 2A, "JMP"). */
const JMP_REL8 = 0xeb;
const JMP_REL8_BYTES = 2;
/** xloadflags, bit 0. */
const XLF_KERNEL_64 = 1;
/** loadflags, bit 0. */
const LOADED_HIGH = 1;
/** What holds for kernels that are too old to say ("Details of Header Fields", initrd_addr_max and cmdline_size). */
const DEFAULT_INITRD_ADDRESS_MAX = 0x37ffffff;
const DEFAULT_COMMAND_LINE_BYTES = 255;

/** Untrusted values. `undefined`: the image's protocol does not have the field yet. */
export interface SetupHeader {
  /** Boot protocol, `0x020f` for 2.15. */
  readonly protocol: number;
  /** The header as it is copied into the zero page, at {@link SETUP_HEADER_AT}. */
  readonly bytes: Uint8Array;
  /** Boot sector and setup code, as they are in the file. */
  readonly setup: Uint8Array;
  /** LOADED_HIGH: the protected-mode code belongs at 1 MiB, not at 64 KiB. */
  readonly loadedHigh: boolean;
  /** The protected-mode code: all of the file after boot sector and setup_sects sectors. */
  readonly code: Uint8Array;
  /** Where the 16-bit entry at file offset 0x200 jumps to, as a file offset; `undefined`: there is no short jump. */
  readonly setupJumpTarget: number | undefined;
  /** Pointer to the version text, less 0x200. 0: none. */
  readonly kernelVersion: number;
  /** Where 32-bit code begins if the image is loaded where it wants to be, gpa. */
  readonly code32Start: number;
  readonly relocatable: boolean;
  /** XLF_KERNEL_64. */
  readonly has64BitEntry: boolean | undefined;
  /** The packed kernel in {@link code}. */
  readonly payload: { readonly offset: number; readonly sizeBytes: number } | undefined;
  /** Preferred load address, gpa. 0: none is said. */
  readonly prefAddress: bigint;
  /** Memory that the kernel needs, from its load address on, before it looks at the memory map. 0: it is not said. */
  readonly initSizeBytes: number;
  /** Highest address that the initrd's last byte may have. */
  readonly initrdAddressMax: number;
  /** Longest command line without its NUL. */
  readonly commandLineSizeBytes: number;
}

export function isBzImage(file: Uint8Array): boolean {
  if (file.length < Field.protocol.at + 2) return false;
  const reader = new ByteReader(file);
  return reader.u16(Field.bootFlag.at, 'boot flag') === BOOT_FLAG && reader.u32(Field.magic.at, 'header') === HDRS;
}

/** Reads the header of a file that {@link isBzImage}. @throws PolyvisorError PV2001 if it is cut short */
export function readSetupHeader(file: Uint8Array): SetupHeader {
  const reader = new ByteReader(file);
  const protocol = reader.u16(Field.protocol.at, 'bzImage protocol version');
  const since = <T>(name: keyof typeof Field, read: (at: number, what: string) => T): T | undefined =>
    protocol >= Field[name].since ? read(Field[name].at, `bzImage ${name}`) : undefined;
  const u32 = (at: number, what: string) => reader.u32(at, what);
  return {
    protocol,
    ...partsOf(reader),
    kernelVersion: reader.u16(Field.kernelVersion.at, 'bzImage kernel_version'),
    loadedHigh: since('loadFlags', (at, what) => (reader.u8(at, what) & LOADED_HIGH) !== 0) ?? false,
    code32Start: reader.u32(Field.code32Start.at, 'bzImage code32_start'),
    relocatable: since('relocatable', (at, what) => reader.u8(at, what) !== 0) ?? false,
    has64BitEntry: since('xloadflags', (at, what) => (reader.u16(at, what) & XLF_KERNEL_64) !== 0),
    payload: since('payloadOffset', (at, what) => ({
      offset: reader.u32(at, what),
      sizeBytes: reader.u32(Field.payloadLength.at, 'bzImage payloadLength'),
    })),
    prefAddress: since('prefAddress', (at, what) => reader.u64(at, what)) ?? 0n,
    initSizeBytes: since('initSize', u32) ?? 0,
    initrdAddressMax: since('initrdAddressMax', u32) ?? DEFAULT_INITRD_ADDRESS_MAX,
    commandLineSizeBytes: since('commandLineSize', u32) ?? DEFAULT_COMMAND_LINE_BYTES,
  };
}

function partsOf(reader: ByteReader): Pick<SetupHeader, 'bytes' | 'setup' | 'code' | 'setupJumpTarget'> {
  const setupSects = reader.u8(Field.setupSects.at, 'bzImage setup_sects') || DEFAULT_SETUP_SECTS;
  const codeAt = (setupSects + 1) * SECTOR_BYTES;
  const [opcode, distance] = reader.slice(Field.jump.at, JMP_REL8_BYTES, 'bzImage jump');
  const jumpEnd = Field.jump.at + JMP_REL8_BYTES;
  return {
    // The jump's operand also says where the header ends ("Details of Header Fields", jump).
    bytes: reader.slice(SETUP_HEADER_AT, jumpEnd + distance - SETUP_HEADER_AT, 'bzImage setup header'),
    setup: reader.slice(0, codeAt, 'bzImage setup code'),
    code: reader.slice(codeAt, reader.sizeBytes - codeAt, 'bzImage protected-mode code'),
    setupJumpTarget: opcode === JMP_REL8 ? jumpEnd + ((distance << 24) >> 24) : undefined,
  };
}
