import { ByteReader } from './byte-reader.ts';

/**
 * The setup header of a Linux kernel file: its fields at their offsets in the file, each with the boot
 * protocol that brought it (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
 */
const Field = {
  setupSects: { at: 0x1f1, since: 0x000 },
  bootFlag: { at: 0x1fe, since: 0x000 },
  jump: { at: 0x200, since: 0x200 },
  magic: { at: 0x202, since: 0x200 },
  protocol: { at: 0x206, since: 0x200 },
  kernelVersion: { at: 0x20e, since: 0x200 },
  loadflags: { at: 0x211, since: 0x200 },
  code32Start: { at: 0x214, since: 0x200 },
  initrdAddressMax: { at: 0x22c, since: 0x203 },
  kernelAlignment: { at: 0x230, since: 0x205 },
  relocatable: { at: 0x234, since: 0x205 },
  xloadflags: { at: 0x236, since: 0x20c },
  cmdlineSize: { at: 0x238, since: 0x206 },
  payloadOffset: { at: 0x248, since: 0x208 },
  payloadLength: { at: 0x24c, since: 0x208 },
  prefAddress: { at: 0x258, since: 0x20a },
  initSize: { at: 0x260, since: 0x20a },
  handoverOffset: { at: 0x264, since: 0x20b },
} as const;

const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448;
const SECTOR_BYTES = 512;
/** setup_sects is 0 in ancient images and then means 4. */
const DEFAULT_SETUP_SECTS = 4;
/** The setup code begins with a short jump over the header: opcode EB, distance (SDM vol. 2A, "JMP"). */
const JMP_REL8 = 0xeb;
const JMP_REL8_BYTES = 2;

/** loadflags, bit 0: the protected-mode code is loaded at 1 MiB and above. */
const LOADED_HIGH = 1;
/** Bits of xloadflags. */
export const XloadFlag = { KERNEL_64: 1, CAN_BE_LOADED_ABOVE_4G: 2, EFI_HANDOVER_32: 4, EFI_HANDOVER_64: 8 } as const;

/** The offset from the start of the loaded code at which the 64-bit boot protocol begins (boot.rst, "64-bit Boot Protocol"). */
export const ENTRY64_OFFSET = 0x200;

/** Fields that the image's protocol does not have yet are `undefined`. Untrusted values. */
export interface SetupHeader {
  /** Boot protocol, `0x020f` for 2.15. */
  readonly protocol: number;
  /** File offset of the protected-mode code: it follows the boot sector and setup_sects sectors. */
  readonly protectedModeOffset: number;
  /** Where the 16-bit entry at file offset 0x200 jumps to, as a file offset; `undefined`: there is no short jump. */
  readonly setupJumpTarget: number | undefined;
  /** Pointer to the version text, less 0x200. 0: none. */
  readonly kernelVersion: number;
  readonly loadedHigh: boolean;
  /** Where 32-bit code begins if the image is loaded where it wants to be, gpa. */
  readonly code32Start: number;
  readonly initrdAddressMax: number | undefined;
  readonly kernelAlignmentBytes: number | undefined;
  readonly relocatable: boolean;
  /** Bits of {@link XloadFlag}. */
  readonly xloadflags: number | undefined;
  readonly cmdlineSizeBytes: number | undefined;
  readonly payloadOffset: number | undefined;
  readonly payloadLengthBytes: number | undefined;
  /** Preferred load address, gpa. */
  readonly prefAddress: bigint | undefined;
  readonly initSizeBytes: number | undefined;
  readonly handoverOffset: number | undefined;
}

export function isBzImage(bytes: Uint8Array): boolean {
  if (bytes.length < Field.protocol.at + 2) return false;
  const reader = new ByteReader(bytes);
  return reader.u16(Field.bootFlag.at, 'boot flag') === BOOT_FLAG && reader.u32(Field.magic.at, 'header') === HDRS;
}

/** Reads the header of a file that {@link isBzImage}. Throws `PolyvisorError` PV2001 if it is cut short. */
export function readSetupHeader(bytes: Uint8Array): SetupHeader {
  const reader = new ByteReader(bytes);
  const protocol = reader.u16(Field.protocol.at, 'bzImage protocol version');
  const since = <T>(name: keyof typeof Field, read: (at: number, what: string) => T): T | undefined =>
    protocol >= Field[name].since ? read(Field[name].at, `bzImage ${name}`) : undefined;
  const u16 = (at: number, what: string) => reader.u16(at, what);
  const u32 = (at: number, what: string) => reader.u32(at, what);
  const setupSects = reader.u8(Field.setupSects.at, 'bzImage setup_sects') || DEFAULT_SETUP_SECTS;
  const [opcode, distance] = reader.slice(Field.jump.at, JMP_REL8_BYTES, 'bzImage jump');
  return {
    protocol,
    protectedModeOffset: (setupSects + 1) * SECTOR_BYTES,
    setupJumpTarget: opcode === JMP_REL8 ? Field.jump.at + JMP_REL8_BYTES + ((distance << 24) >> 24) : undefined,
    kernelVersion: reader.u16(Field.kernelVersion.at, 'bzImage kernel_version'),
    loadedHigh: (reader.u8(Field.loadflags.at, 'bzImage loadflags') & LOADED_HIGH) !== 0,
    code32Start: reader.u32(Field.code32Start.at, 'bzImage code32_start'),
    initrdAddressMax: since('initrdAddressMax', u32),
    kernelAlignmentBytes: since('kernelAlignment', u32),
    relocatable: since('relocatable', (at, what) => reader.u8(at, what) !== 0) ?? false,
    xloadflags: since('xloadflags', u16),
    cmdlineSizeBytes: since('cmdlineSize', u32),
    payloadOffset: since('payloadOffset', u32),
    payloadLengthBytes: since('payloadLength', u32),
    prefAddress: since('prefAddress', (at, what) => reader.u64(at, what)),
    initSizeBytes: since('initSize', u32),
    handoverOffset: since('handoverOffset', u32),
  };
}
