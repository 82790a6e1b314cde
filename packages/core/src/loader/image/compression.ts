import type { CompressionKind } from '../../ports/decompressor.ts';

/**
 * First bytes of each format. gzip: RFC 1952, 2.3.1; xz: .xz file format, 2.1.1.1; bzip2: "BZh";
 * zstd: RFC 8878, 3.1.1; lz4: the frame magic and the older "legacy" one, which the kernel uses
 * (LZ4 Frame Format, "Legacy frame"); lzma: the properties byte 0x5d and a dictionary of a whole
 * number of 64 KiB (LZMA has no magic of its own).
 */
const MAGICS: readonly { kind: CompressionKind; bytes: readonly number[] }[] = [
  { kind: 'gzip', bytes: [0x1f, 0x8b, 0x08] },
  { kind: 'xz', bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { kind: 'bzip2', bytes: [0x42, 0x5a, 0x68] },
  { kind: 'zstd', bytes: [0x28, 0xb5, 0x2f, 0xfd] },
  { kind: 'lz4', bytes: [0x04, 0x22, 0x4d, 0x18] },
  { kind: 'lz4', bytes: [0x02, 0x21, 0x4c, 0x18] },
  { kind: 'lzma', bytes: [0x5d, 0x00, 0x00] },
];

export function detectCompression(bytes: Uint8Array): CompressionKind | undefined {
  return MAGICS.find((magic) => magic.bytes.every((byte, index) => bytes[index] === byte))?.kind;
}
