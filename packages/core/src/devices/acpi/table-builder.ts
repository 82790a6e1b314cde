const HEADER_BYTES = 36;
const OEM_ID = 'POLYVS';
const CREATOR_ID = 'PLYV';

/** Puts a table together: fields one after the other, then length and checksum (ACPI 6.3, 5.2.6). */
export class TableBuilder {
  #bytes: number[] = [];

  u8(...values: number[]): this {
    this.#bytes.push(...values.map((value) => value & 0xff));
    return this;
  }
  u16(value: number): this {
    return this.u8(value, value >>> 8);
  }
  u32(value: number): this {
    return this.u16(value & 0xffff).u16(value >>> 16);
  }
  /** Up to 2^53. */
  u64(value: number): this {
    return this.u32((value % 2 ** 32) >>> 0).u32(Math.floor(value / 2 ** 32));
  }
  text(value: string, sizeBytes: number): this {
    const padded = value.padEnd(sizeBytes, '\0').slice(0, sizeBytes);
    return this.u8(...[...padded].map((character) => character.charCodeAt(0)));
  }
  zeros(count: number): this {
    return this.u8(...new Array(count).fill(0));
  }
  /** A generic address structure for a register of this width (5.2.3.2). */
  address(space: 'memory' | 'io', widthBits: number, address: number): this {
    const accessSize = { 8: 1, 16: 2, 32: 3, 64: 4 }[widthBits] ?? 0;
    return this.u8(space === 'io' ? 1 : 0, widthBits, 0, accessSize).u64(address);
  }
  /** Structure that has no register. */
  noAddress(): this {
    return this.zeros(12);
  }
  bytes(values: Iterable<number>): this {
    for (const value of values) this.#bytes.push(value);
    return this;
  }
  get sizeBytes(): number {
    return this.#bytes.length;
  }
  raw(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** A table with the header that all have but RSDP and FACS; `content` follows it. */
export function table(signature: string, revision: number, content: Uint8Array): Uint8Array {
  const header = new TableBuilder()
    .text(signature, 4)
    .u32(HEADER_BYTES + content.length)
    .u8(revision, 0)
    .text(OEM_ID, 6)
    .text(`PC${signature}`, 8)
    .u32(1)
    .text(CREATOR_ID, 4)
    .u32(1);
  const bytes = header.bytes(content).raw();
  bytes[9] = checksum(bytes);
  return bytes;
}

/** The byte that makes all of them, with it, add up to 0. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

export const RSDP_BYTES = 36;
/** 5.2.5.3, revision 2, with an XSDT alone. */
export function rsdp(xsdtAddress: number): Uint8Array {
  const bytes = new TableBuilder()
    .text('RSD PTR ', 8)
    .u8(0)
    .text(OEM_ID, 6)
    .u8(2)
    .u32(0)
    .u32(RSDP_BYTES)
    .u64(xsdtAddress)
    .u8(0)
    .zeros(3)
    .raw();
  bytes[8] = checksum(bytes.subarray(0, 20));
  bytes[32] = checksum(bytes);
  return bytes;
}

export const FACS_BYTES = 64;
/** 5.2.10. */
export const facs = (): Uint8Array =>
  new TableBuilder().text('FACS', 4).u32(FACS_BYTES).zeros(24).u8(2).zeros(31).raw();
