import type { ElfImage, ElfSection } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';

/** How many places where a text may begin a step looks at. */
const PLACES_A_STEP = 512;
const SHT_NOBITS = 8;
const SHF_ALLOC = 2n;
const SHF_EXECINSTR = 4n;

/** A kernel's ELF file by the addresses at which it is linked. What lies outside of it reads as `undefined`. */
export class KernelImage {
  readonly elf: ElfImage;
  readonly wordBytes: 4 | 8;
  readonly #view: DataView;
  /** Sections with bytes in the file, in order of address. */
  readonly #sections: readonly ElfSection[];

  constructor(elf: ElfImage) {
    this.elf = elf;
    this.wordBytes = elf.class === 64 ? 8 : 4;
    this.#view = new DataView(elf.bytes.buffer, elf.bytes.byteOffset, elf.bytes.byteLength);
    this.#sections = elf.sections
      .filter(({ type, flags, sizeBytes }) => (flags & SHF_ALLOC) !== 0n && type !== SHT_NOBITS && sizeBytes > 0)
      .toSorted((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
  }

  /** The section that holds the byte at `address`. */
  sectionAt(address: bigint): ElfSection | undefined {
    let low = 0;
    let high = this.#sections.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sections[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    const section = this.#sections[low - 1];
    return section && address < section.address + BigInt(section.sizeBytes) ? section : undefined;
  }

  isCode(address: bigint): boolean {
    return ((this.sectionAt(address)?.flags ?? 0n) & SHF_EXECINSTR) !== 0n;
  }

  /** A view of at most `sizeBytes` bytes: fewer where the section ends. */
  bytesAt(address: bigint, sizeBytes: number): Uint8Array | undefined {
    const section = this.sectionAt(address);
    if (!section) return undefined;
    const inside = Number(address - section.address);
    const at = section.offset + inside;
    return this.elf.bytes.subarray(at, at + Math.min(sizeBytes, section.sizeBytes - inside));
  }

  /** The pointer at `address`. */
  wordAt(address: bigint): bigint | undefined {
    const bytes = this.bytesAt(address, this.wordBytes);
    if (bytes?.length !== this.wordBytes) return undefined;
    const at = bytes.byteOffset - this.elf.bytes.byteOffset;
    return this.wordBytes === 8 ? this.#view.getBigUint64(at, true) : BigInt(this.#view.getUint32(at, true));
  }

  /** Addresses of a text in the file's data, at most so many. */
  *find(text: string, most: number): Steps<bigint[]> {
    const wanted = new TextEncoder().encode(text);
    const found: bigint[] = [];
    let looked = 0;
    for (const { flags, address, offset, sizeBytes } of this.#sections) {
      if ((flags & SHF_EXECINSTR) !== 0n) continue;
      const bytes = this.elf.bytes.subarray(offset, offset + sizeBytes);
      for (let at = bytes.indexOf(wanted[0]); at >= 0; at = bytes.indexOf(wanted[0], at + 1)) {
        if (found.length >= most) return found;
        if (++looked % PLACES_A_STEP === 0) yield;
        if (wanted.every((byte, i) => bytes[at + i] === byte)) found.push(address + BigInt(at));
      }
    }
    return found;
  }

  /** An address that has left the kernel's word wraps around. */
  wrap(address: bigint): bigint {
    return BigInt.asUintN(this.wordBytes * 8, address);
  }
}
