import type { CompressionKind } from '../../ports/decompressor.ts';
import { ByteReader } from './byte-reader.ts';
import { detectCompression } from './compression.ts';
import { damagedImage, printable } from './image-error.ts';
import { readSetupHeader, type SetupHeader } from './setup-header.ts';

const SECTOR_BYTES = 512;
const APPENDED_SIZE_BYTES = 4;

export interface BzImage {
  /** Boot protocol, `0x020f` for 2.15. */
  readonly protocol: number;
  /** What it calls itself: `Linux 6.1.0-1-amd64`, or the name of something else that starts like Linux; empty if it does not. */
  readonly kernelName: string;
  /** `undefined`: the header does not say where it is, as before protocol 2.08, or there is none. */
  readonly payload: BzImagePayload | undefined;
}

interface BzImagePayload {
  /** The compressed stream alone, or the payload as it is. */
  readonly bytes: Uint8Array;
  /** `undefined`: the payload is not compressed. */
  readonly compression: CompressionKind | undefined;
  /** Size of the unpacked payload, as the image says. Untrusted. */
  readonly unpackedSizeBytes: number;
}

/** Reads the setup header and finds the payload. Throws `PolyvisorError` PV2001. */
export function parseBzImage(bytes: Uint8Array): BzImage {
  const reader = new ByteReader(bytes);
  const header = readSetupHeader(bytes);
  return {
    protocol: header.protocol,
    kernelName: kernelName(reader, header),
    payload: payloadOf(header),
  };
}

function payloadOf(header: SetupHeader): BzImagePayload | undefined {
  if (!header.payload) return undefined;
  const { offset, sizeBytes } = header.payload;
  // What is no Linux but uses its boot protocol has none.
  if (offset === 0 && sizeBytes === 0) return undefined;
  if (sizeBytes === 0) throw damagedImage('bzImage payload_length is 0');
  const payload = new ByteReader(header.code).slice(offset, sizeBytes, 'bzImage payload');
  const compression = detectCompression(payload);
  const sizeAt = payload.length - APPENDED_SIZE_BYTES;
  // gzip ends with its unpacked size (RFC 1952, 2.3.1); the kernel's build appends one to the others.
  const appended = compression !== undefined && compression !== 'gzip' && sizeAt >= 0;
  return {
    bytes: appended ? payload.subarray(0, sizeAt) : payload,
    compression,
    unpackedSizeBytes: sizeAt >= 0 ? new ByteReader(payload).u32(sizeAt, 'bzImage payload size') : 0,
  };
}

export function protocolName(protocol: number): string {
  return `${protocol >> 8}.${String(protocol & 0xff).padStart(2, '0')}`;
}

/**
 * kernel_version points, less 0x200, to a string (Linux, Documentation/arch/x86/boot.rst). Linux's begins with its number,
 * `6.1.0-1-amd64 (someone@somewhere) #1 SMP`; a name in its place is that of another program.
 */
function kernelName(reader: ByteReader, { kernelVersion: pointer }: SetupHeader): string {
  if (pointer === 0 || pointer + SECTOR_BYTES >= reader.sizeBytes) return '';
  const text = reader.cString(pointer + SECTOR_BYTES, 200, 'bzImage kernel_version string');
  const words = text
    .split(' ')
    .map(printable)
    .filter((word) => word !== '');
  return /^\d/.test(text) ? `Linux ${words[0]}` : words.join(' ');
}
