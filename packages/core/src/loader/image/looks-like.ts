import { detectCompression } from './compression.ts';

interface Look {
  readonly says: string;
  readonly at: number;
  readonly bytes: readonly number[];
}

const SECTOR_BYTES = 512;

/** Files that people give by mistake, by their first bytes. */
const LOOKS: readonly Look[] = [
  { says: 'a script', at: 0, bytes: [0x23, 0x21] },
  { says: 'a Debian package or ar archive', at: 0, bytes: [0x21, 0x3c, 0x61, 0x72, 0x63, 0x68, 0x3e] },
  { says: 'a cpio archive (an initramfs?)', at: 0, bytes: [0x30, 0x37, 0x30, 0x37, 0x30] },
  { says: 'a PE executable (EFI or Windows)', at: 0, bytes: [0x4d, 0x5a] },
  { says: 'a zip archive', at: 0, bytes: [0x50, 0x4b, 0x03, 0x04] },
  { says: 'a qcow2 disk', at: 0, bytes: [0x51, 0x46, 0x49, 0xfb] },
  { says: 'a tar archive', at: 257, bytes: [0x75, 0x73, 0x74, 0x61, 0x72] },
  { says: 'an ISO 9660 image', at: 0x8001, bytes: [0x43, 0x44, 0x30, 0x30, 0x31] },
];

/** A first sector of the kind that a BIOS starts: it ends with a signature. */
export function isBootSector(bytes: Uint8Array): boolean {
  return bytes.length >= SECTOR_BYTES && bytes[SECTOR_BYTES - 2] === 0x55 && bytes[SECTOR_BYTES - 1] === 0xaa;
}

/** What an unrecognised file looks like, in words: `a text file`. */
export function looksLike(bytes: Uint8Array): string {
  if (bytes.length === 0) return 'an empty file';
  const look = LOOKS.find(({ at, bytes: magic }) => magic.every((byte, index) => bytes[at + index] === byte));
  if (look) return look.says;
  const compression = detectCompression(bytes);
  if (compression) return `${compression} data`;
  const head = bytes.subarray(0, 512);
  if (head.every((byte) => byte === 0)) return 'a file that begins with zeros';
  if (head.every(isTextByte)) return 'a text file';
  return `data that begins with ${[...head.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')}`;
}

/** Tab to carriage return, printable ASCII, and the bytes of UTF-8 beyond it. */
function isTextByte(byte: number): boolean {
  return (byte >= 9 && byte <= 13) || (byte >= 0x20 && byte !== 0x7f);
}
