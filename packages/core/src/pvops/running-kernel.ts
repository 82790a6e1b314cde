import { type ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import { Btf, BtfKind } from '../loader/image/btf.ts';
import type { Machine } from '../machine/index.ts';
import { findKernelOps, type KernelOps } from './kernel-ops.ts';

const PAGE = 4096;
const MSR_LSTAR = 0xc0000082;
const PAGE_FAULT_VECTOR = 14;
/** Handlers of the page fault that kernels have had, as the IDT names them. */
const PAGE_FAULT_HANDLERS = ['asm_exc_page_fault', 'page_fault', 'async_page_fault'];
const SYSCALL_ENTRIES = ['entry_SYSCALL_64', 'system_call'];
const BANNER = 'linux_banner';
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
   * moment (KPTI, in user space).
   */
  static locate(machine: Machine, elf: ElfImage, ops: KernelOps = findKernelOps(elf)): RunningKernel | undefined {
    const banner = ops.symbols.address(BANNER);
    const expected = banner === undefined ? undefined : fileBytes(elf, banner, LONGEST_BANNER_BYTES);
    if (banner === undefined || !expected) return undefined;
    const wanted = expected.subarray(0, expected.indexOf(0) + 1);
    if (wanted.length < 2) return undefined;
    for (const slide of slides(machine, ops)) {
      const kernel = new RunningKernel(machine, elf, ops, slide);
      const found = kernel.read(kernel.placeOf(banner), wanted.length);
      if (found && wanted.every((byte, i) => found[i] === byte)) return kernel;
    }
    return undefined;
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
      const found = this.machine.vcpus[0].translate(page, 'read', { as: 'supervisor' });
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

  /** A word at an address of the kernel's that is not of its image, and may be elsewhere the next time. */
  readStack(gva: bigint): bigint | undefined {
    const found = this.machine.vcpus[0].read(this.wrap(gva), this.wordBytes, { as: 'supervisor' });
    return found.ok ? wordOf(found.bytes, this.wordBytes) : undefined;
  }

  readWord(gva: bigint): bigint | undefined {
    const bytes = this.read(gva, this.wordBytes);
    return bytes && wordOf(bytes, this.wordBytes);
  }
}

const STATE = 'system_state';

/**
 * Whether the kernel is done with changing its own code and page tables for the processor that it has found, and has freed
 * what it only needed for that: its variable `system_state` says so, by the value that its types give SYSTEM_RUNNING. Where
 * there are no types, once it runs a program.
 */
export function hasBooted(kernel: RunningKernel): boolean {
  const state = kernel.symbol(STATE);
  const section = kernel.elf.section('.BTF');
  if (!section || state === undefined) return kernel.machine.vcpus.some(({ cpl }) => cpl === 3);
  const btf = new Btf(kernel.elf.bytes.subarray(section.offset, section.offset + section.sizeBytes));
  const states = btf.find(BtfKind.ENUM, 'system_states');
  const running = states === undefined ? undefined : btf.enumerator(states, 'SYSTEM_RUNNING');
  const value = kernel.read(state, 4);
  return running !== undefined && value !== undefined && new DataView(value.buffer).getInt32(0, true) === running;
}

function wordOf(bytes: Uint8Array, wordBytes: number): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return wordBytes === 8 ? view.getBigUint64(0, true) : BigInt(view.getUint32(0, true));
}

function fileBytes(elf: ElfImage, address: bigint, sizeBytes: number): Uint8Array | undefined {
  const section = elf.sections.find(
    (each) => each.address !== 0n && address >= each.address && address < each.address + BigInt(each.sizeBytes),
  );
  if (!section) return undefined;
  const at = section.offset + Number(address - section.address);
  return elf.bytes.subarray(at, Math.min(at + sizeBytes, section.offset + section.sizeBytes));
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
