import { type ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import { allAtOnce, type Steps } from '../loader/image/steps.ts';
import type { Machine } from '../machine/index.ts';
import { KernelImage } from './kernel-image.ts';
import type { KernelOps } from './kernel-ops.ts';

const PAGE = 4096;
const MSR_LSTAR = 0xc0000082;
const PAGE_FAULT_VECTOR = 14;
/** Handlers of the page fault that kernels have had, as the IDT names them. */
const PAGE_FAULT_HANDLERS = ['asm_exc_page_fault', 'page_fault', 'async_page_fault'];
const SYSCALL_ENTRIES = ['entry_SYSCALL_64', 'system_call'];
const BANNER = 'linux_banner';
/** What the banner begins with; another string of the file may do so too. */
const BANNER_START = 'Linux version ';
const MOST_BANNERS = 8;
const LONGEST_BANNER_BYTES = 256;

/**
 * A Linux kernel in a running guest: its image in memory, found by what its file says of itself. How far it has moved
 * (KASLR) follows from where it has told the processor to enter it, LSTAR or the IDT; the version string at the place that
 * results must be the file's.
 */
export class RunningKernel {
  readonly machine: Machine;
  readonly elf: ElfImage;
  readonly ops: KernelOps;
  readonly wordBytes: 4 | 8;
  /** What is to be added to an address in the file. */
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
    for (const slide of banners.length > 0 ? slides(machine, ops) : []) {
      const kernel = new RunningKernel(machine, elf, ops, slide);
      if (banners.some(({ address, bytes }) => kernel.#holds(kernel.placeOf(address), bytes))) return kernel;
    }
    return undefined;
  }

  /** Whether the kernel is mapped at this moment; in user space it may not be (KPTI). */
  get isMapped(): boolean {
    const table = this.placeOf(this.ops.address);
    return this.machine.running.translate(table, 'read', { as: 'supervisor' }).ok;
  }

  #holds(gva: bigint, bytes: Uint8Array): boolean {
    const found = this.read(gva, bytes.length);
    return found?.every((byte, i) => byte === bytes[i]) ?? false;
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

/** The version string. */
interface Banner {
  readonly address: bigint;
  /** With the zero at its end. */
  readonly bytes: Uint8Array;
}

/** The version string, by its symbol; where data have no symbols, all that could be it. */
export function* bannersOf(elf: ElfImage, { symbols }: KernelOps): Steps<Banner[]> {
  const image = new KernelImage(elf);
  const bySymbol = symbols.address(BANNER);
  const addresses = bySymbol === undefined ? yield* image.find(BANNER_START, MOST_BANNERS) : [bySymbol];
  return addresses.flatMap((address) => {
    const bytes = image.bytesAt(address, LONGEST_BANNER_BYTES);
    const sizeBytes = (bytes?.indexOf(0) ?? -1) + 1;
    return bytes && sizeBytes > 1 ? [{ address, bytes: bytes.subarray(0, sizeBytes) }] : [];
  });
}

/** By how much the kernel may have moved, best guess first. */
function slides(machine: Machine, { symbols, wordBytes }: KernelOps): Set<bigint> {
  const [vcpu] = machine.vcpus;
  const answers = new Set<bigint>();
  const guess = (now: bigint | undefined, names: readonly string[]) => {
    for (const name of now === undefined ? [] : names) {
      const linked = symbols.address(name);
      if (linked !== undefined) answers.add(BigInt.asUintN(64, (now as bigint) - linked));
    }
  };
  if (wordBytes === 8) guess(vcpu.msrs.get(MSR_LSTAR), SYSCALL_ENTRIES);
  guess(gateTarget(vcpu, PAGE_FAULT_VECTOR, wordBytes), PAGE_FAULT_HANDLERS);
  answers.add(0n);
  return answers;
}

/** Where a gate of the IDT leads (SDM vol. 3A, figures 6-2 and 6-8). */
function gateTarget(vcpu: Machine['vcpus'][number], vector: number, wordBytes: 4 | 8): bigint | undefined {
  const sizeBytes = wordBytes * 2;
  const gate = vcpu.read(vcpu.tables.idtr.base + BigInt(vector * sizeBytes), sizeBytes, { as: 'supervisor' });
  if (!gate.ok) return undefined;
  const view = new DataView(gate.bytes.buffer, gate.bytes.byteOffset, sizeBytes);
  const low = BigInt(view.getUint16(0, true) | (view.getUint16(6, true) << 16)) & 0xffffffffn;
  return wordBytes === 8 ? low | (BigInt(view.getUint32(8, true)) << 32n) : low;
}
