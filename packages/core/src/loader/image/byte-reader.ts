import { damagedImage, hex } from './image-error.ts';

/** Little-endian reads from untrusted bytes; what lies outside is refused with its name and offset. */
export class ByteReader {
  readonly bytes: Uint8Array;
  private readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }

  /** Throws unless `[offset, offset + sizeBytes)` lies inside. */
  require(offset: number, sizeBytes: number, what: string): void {
    const inside =
      Number.isSafeInteger(offset) && offset >= 0 && sizeBytes >= 0 && sizeBytes <= this.sizeBytes - offset;
    if (inside) return;
    throw damagedImage(
      `${what}, ${sizeBytes} bytes at offset ${hex(offset)}, lies beyond the end at ${hex(this.sizeBytes)}`,
    );
  }

  u8(offset: number, what: string): number {
    this.require(offset, 1, what);
    return this.view.getUint8(offset);
  }

  u16(offset: number, what: string): number {
    this.require(offset, 2, what);
    return this.view.getUint16(offset, true);
  }

  u32(offset: number, what: string): number {
    this.require(offset, 4, what);
    return this.view.getUint32(offset, true);
  }

  u64(offset: number, what: string): bigint {
    this.require(offset, 8, what);
    return this.view.getBigUint64(offset, true);
  }

  /** A 64-bit offset or size as a number; one above 2^53 cannot be meant. */
  size64(offset: number, what: string): number {
    const value = this.u64(offset, what);
    if (value > BigInt(Number.MAX_SAFE_INTEGER))
      throw damagedImage(`${what} at offset ${hex(offset)} is ${hex(value)}`);
    return Number(value);
  }

  /** A view, not a copy. */
  slice(offset: number, sizeBytes: number, what: string): Uint8Array {
    this.require(offset, sizeBytes, what);
    return this.bytes.subarray(offset, offset + sizeBytes);
  }

  /** A NUL-terminated string of at most `limitBytes`; the end of the bytes also ends it. */
  cString(offset: number, limitBytes: number, what: string): string {
    this.require(offset, 1, what);
    const end = Math.min(offset + limitBytes, this.sizeBytes);
    const nul = this.bytes.subarray(offset, end).indexOf(0);
    return latin1(this.bytes.subarray(offset, nul < 0 ? end : offset + nul));
  }
}

/** Bytes as characters 0–255; names in images carry no encoding. */
export function latin1(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; start += 4096) {
    text += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  return text;
}
