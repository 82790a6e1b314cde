import { decompress, decompressBlock, decompressBound } from 'lz4js';
import { TooLarge } from './too-large.ts';

const LEGACY_MAGIC = 0x184c2102;
const BLOCK_BYTES = 8 * 1024 * 1024;

/** Unpacks either frame format. Throws for data that is cut short, and {@link TooLarge} for more than `limitBytes`. */
export function unpackLz4(bytes: Uint8Array, limitBytes: number): Uint8Array[] {
  if (isLegacy(bytes)) return unpackLegacy(bytes, limitBytes);
  if (!endsWithEndMark(bytes)) throw new RangeError('the end mark is missing');
  // With a byte more than there may be: what does not fit into it is dropped.
  const unpacked = decompress(bytes, Math.min(decompressBound(bytes), limitBytes + 1));
  if (unpacked.length > limitBytes) throw new TooLarge();
  return [unpacked];
}

/** LZ4 Frame Format, "EndMark" and "Content Checksum": a block size of 0, then the checksum if FLG bit 2 says so. */
function endsWithEndMark(bytes: Uint8Array): boolean {
  const at = bytes.length - 4 - (bytes[4] & 4);
  return at > 0 && viewOf(bytes).getUint32(at, true) === 0;
}

function isLegacy(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === LEGACY_MAGIC;
}

/**
 * The "legacy frame" that kernels are packed with (LZ4 Frame Format, "Legacy frame"): after the
 * magic, blocks of a 32-bit size and that many bytes, each 8 MiB when unpacked but for the last.
 * There is no end mark.
 */
function unpackLegacy(bytes: Uint8Array, limitBytes: number): Uint8Array[] {
  const view = viewOf(bytes);
  const blocks: Uint8Array[] = [];
  let at = 4;
  let total = 0;
  while (at + 4 <= bytes.length) {
    const sizeBytes = view.getUint32(at, true);
    if (sizeBytes === LEGACY_MAGIC) {
      at += 4;
      continue;
    }
    if (sizeBytes === 0 || at + 4 + sizeBytes > bytes.length) throw new RangeError('the last block is cut short');
    const block = new Uint8Array(BLOCK_BYTES);
    const end = decompressBlock(bytes, block, at + 4, sizeBytes, 0);
    blocks.push(block.subarray(0, end));
    at += 4 + sizeBytes;
    total += end;
    if (total > limitBytes) throw new TooLarge();
  }
  if (blocks.length === 0) throw new RangeError('no complete block');
  return blocks;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
