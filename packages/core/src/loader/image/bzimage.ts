import type { CompressionKind } from '../../ports/decompressor.ts';
import { ByteReader } from './byte-reader.ts';
import { detectCompression } from './compression.ts';
import { damagedImage, hex, unsupportedImage } from './image-error.ts';

/** Offsets into the file (Linux, Documentation/arch/x86/boot.rst, "Details of header fields"). */
const Setup = {
  setupSects: 0x1f1,
  bootFlag: 0x1fe,
  header: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
} as const;

const BOOT_FLAG = 0xaa55;
const HDRS = 0x53726448;
const SECTOR_BYTES = 512;
/** setup_sects is 0 in ancient images and then means 4. */
const DEFAULT_SETUP_SECTS = 4;
/** Protocol 2.08 brought payload_offset and payload_length. */
const PROTOCOL_WITH_PAYLOAD = 0x208;
const APPENDED_SIZE_BYTES = 4;

export interface BzImage {
  /** Boot protocol, `0x020f` for 2.15. */
  readonly protocol: number;
  /** First word of the kernel's version string; empty if it has none. */
  readonly kernelVersion: string;
  /** The compressed stream alone, or the payload as it is. */
  readonly payload: Uint8Array;
  /** `undefined`: the payload is not compressed. */
  readonly compression: CompressionKind | undefined;
  /** Size of the unpacked payload, as the image says. Untrusted. */
  readonly unpackedSizeBytes: number;
}

export function isBzImage(bytes: Uint8Array): boolean {
  if (bytes.length < Setup.version + 2) return false;
  const reader = new ByteReader(bytes);
  return reader.u16(Setup.bootFlag, 'boot flag') === BOOT_FLAG && reader.u32(Setup.header, 'header') === HDRS;
}

/** Reads the setup header and finds the payload. Throws `PolyvisorError` PV2001 or PV2002. */
export function parseBzImage(bytes: Uint8Array): BzImage {
  const reader = new ByteReader(bytes);
  const protocol = reader.u16(Setup.version, 'bzImage protocol version');
  if (protocol < PROTOCOL_WITH_PAYLOAD) {
    throw unsupportedImage(
      `bzImage of boot protocol ${protocolName(protocol)} does not say where its payload is`,
      'give the uncompressed vmlinux of this kernel',
    );
  }
  const payload = payloadOf(reader);
  const compression = detectCompression(payload);
  const sizeAt = payload.length - APPENDED_SIZE_BYTES;
  // gzip ends with its unpacked size (RFC 1952, 2.3.1); the kernel's build appends one to the others.
  const appended = compression !== undefined && compression !== 'gzip' && sizeAt >= 0;
  return {
    protocol,
    kernelVersion: kernelVersion(reader),
    payload: appended ? payload.subarray(0, sizeAt) : payload,
    compression,
    unpackedSizeBytes: sizeAt >= 0 ? new ByteReader(payload).u32(sizeAt, 'bzImage payload size') : 0,
  };
}

export function protocolName(protocol: number): string {
  return `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`;
}

function payloadOf(reader: ByteReader): Uint8Array {
  const setupSects = reader.u8(Setup.setupSects, 'bzImage setup_sects') || DEFAULT_SETUP_SECTS;
  const protectedModeOffset = (setupSects + 1) * SECTOR_BYTES;
  const payloadOffset = reader.u32(Setup.payloadOffset, 'bzImage payload_offset');
  const payloadLength = reader.u32(Setup.payloadLength, 'bzImage payload_length');
  if (payloadLength === 0) throw damagedImage(`bzImage payload_length at offset ${hex(Setup.payloadLength)} is 0`);
  return reader.slice(protectedModeOffset + payloadOffset, payloadLength, 'bzImage payload');
}

/** kernel_version points, less 0x200, to a string such as `6.1.0-1-amd64 (someone@somewhere) #1 SMP`. */
function kernelVersion(reader: ByteReader): string {
  const pointer = reader.u16(Setup.kernelVersion, 'bzImage kernel_version');
  if (pointer === 0 || pointer + SECTOR_BYTES >= reader.sizeBytes) return '';
  return printable(reader.cString(pointer + SECTOR_BYTES, 200, 'bzImage kernel_version string').split(' ')[0]);
}

function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, '').slice(0, 80);
}
