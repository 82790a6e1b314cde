import { type ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import { allAtOnce } from '../loader/image/steps.ts';
import type { Machine } from '../machine/index.ts';
import type { KernelOps } from './kernel-ops.ts';
import { type Banner, bannersOf, findSlide } from './kernel-place.ts';

const PAGE = 4096;

/**
 * A Linux kernel in a running guest: its image in memory, found by what its file says of itself
 * ({@link findSlide}).
 */
export class RunningKernel {
  readonly machine: Machine;
  readonly elf: ElfImage;
  readonly ops: KernelOps;
  readonly wordBytes: 4 | 8;
  /** What is to be added to an address in the file (KASLR). */
  readonly slide: bigint;
  /** Guest-physical addresses of pages of the image; it does not move in physical memory. */
  readonly #pages = new Map<bigint, number>();

  private constructor(machine: Machine, elf: ElfImage, ops: KernelOps, slide: bigint) {
    this.machine = machine;
    this.elf = elf;
    this.ops = ops;
    this.wordBytes = ops.wordBytes;
    this.slide = slide;
  }

  /**
   * The kernel of a file in a guest. `undefined`: the guest does not run it, not yet, or its memory is not mapped at this
   * moment (KPTI, in user space). `banners`: of {@link bannersOf}.
   */
  static locate(
    machine: Machine,
    elf: ElfImage,
    ops: KernelOps,
    banners: readonly Banner[] = allAtOnce(bannersOf(elf, ops)),
  ): RunningKernel | undefined {
    const slide = findSlide(machine, ops, banners);
    return slide === undefined ? undefined : new RunningKernel(machine, elf, ops, slide);
  }

  /** Whether the kernel is mapped at this moment; in user space it may not be (KPTI). */
  get isMapped(): boolean {
    const table = this.placeOf(this.ops.address);
    return this.machine.running.translate(table, 'read', { as: 'supervisor' }).ok;
  }

  /** Where something of the file is now, and the other way round. */
  placeOf(linked: bigint): bigint {
    return this.wrap(linked + this.slide);
  }
  linkedAt(gva: bigint): bigint {
    return this.wrap(gva - this.slide);
  }
  wrap(address: bigint): bigint {
    return BigInt.asUintN(this.wordBytes * 8, address);
  }
  symbol(name: string): bigint | undefined {
    const linked = this.ops.symbols.address(name);
    return linked === undefined ? undefined : this.placeOf(linked);
  }
  /** `name+0x10`. */
  nameOf(gva: bigint): string | undefined {
    return this.ops.symbols.lookup(this.linkedAt(gva));
  }

  /** Guest-physical address of a byte of the kernel; `undefined`: not mapped at this moment. */
  gpaOf(gva: bigint): number | undefined {
    const page = gva & ~0xfffn;
    let gpa = this.#pages.get(page);
    if (gpa === undefined) {
      const found = this.machine.running.translate(page, 'read', { as: 'supervisor' });
      if (!found.ok || found.gpa + PAGE > this.machine.memory.sizeBytes) return undefined;
      gpa = found.gpa;
      this.#pages.set(page, gpa);
    }
    return gpa + Number(gva & 0xfffn);
  }

  /** Memory of the kernel's image; `undefined`: not mapped at this moment. */
  read(gva: bigint, sizeBytes: number): Uint8Array | undefined {
    const bytes = new Uint8Array(sizeBytes);
    for (const { gpa, from, to } of this.#chunks(gva, sizeBytes)) {
      if (gpa === undefined) return undefined;
      bytes.set(this.machine.memory.readBytes(gpa, to - from), from);
    }
    return bytes;
  }

  /** Throws PV5012 for what is not mapped; then nothing is written. */
  write(gva: bigint, bytes: Uint8Array): void {
    const first = Number(gva & 0xfffn) + bytes.length <= PAGE ? this.gpaOf(gva) : undefined;
    if (first !== undefined) {
      this.machine.memory.writeBytes(first, bytes);
      return;
    }
    const chunks = [...this.#chunks(gva, bytes.length)];
    if (chunks.some(({ gpa }) => gpa === undefined)) {
      throw new PolyvisorError('PV5012', `no memory is mapped at 0x${gva.toString(16)} of the guest`, 'try again', 10);
    }
    for (const { gpa, from, to } of chunks) this.machine.memory.writeBytes(gpa as number, bytes.subarray(from, to));
  }

  *#chunks(gva: bigint, sizeBytes: number) {
    for (let from = 0; from < sizeBytes; ) {
      const at = this.wrap(gva + BigInt(from));
      const to = Math.min(sizeBytes, from + PAGE - Number(at & 0xfffn));
      yield { gpa: this.gpaOf(at), from, to };
      from = to;
    }
  }

  /** Memory of the kernel's that is not of its image, and may be elsewhere the next time. */
  readNow(gva: bigint, sizeBytes: number): Uint8Array | undefined {
    const found = this.machine.running.read(this.wrap(gva), sizeBytes, { as: 'supervisor' });
    return found.ok ? found.bytes : undefined;
  }
  readWordNow(gva: bigint): bigint | undefined {
    const bytes = this.readNow(gva, this.wordBytes);
    return bytes && wordOf(bytes, this.wordBytes);
  }
  /** Guest-physical address of such memory; `undefined`: not in RAM. */
  gpaNow(gva: bigint): number | undefined {
    const found = this.machine.running.translate(this.wrap(gva), 'read', { as: 'supervisor' });
    return found.ok && found.gpa < this.machine.memory.sizeBytes ? found.gpa : undefined;
  }

  readWord(gva: bigint): bigint | undefined {
    const bytes = this.read(gva, this.wordBytes);
    return bytes && wordOf(bytes, this.wordBytes);
  }
}

function wordOf(bytes: Uint8Array, wordBytes: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return wordBytes === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
}
