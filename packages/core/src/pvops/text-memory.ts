import { PolyvisorError } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import type { Machine } from '../machine/index.ts';
import type { TextPlace } from './module.ts';
import type { RunningKernel } from './running-kernel.ts';

const ENTRIES = 512;
const LARGE_BYTES = 2 << 20;
const ADDRESS = 0x000ffffffffff000n;
const PRESENT = 1n;
const LARGE = 0x80n;
/** Large pages: present, accessed, dirty, global; and writable. */
const READ_ONLY = 0x1e1n;
const WRITABLE = 0x1e3n;
const EXECUTE_DISABLE = 1n << 63n;
const NXE = 1n << 11n;
const ALIGN = 16;
/** How much a step clears. */
const CLEARED_BYTES = 128 << 10;
/** From the start of the machine's memory that the guest does not know: data; behind it code. */
const DATA_BYTES = 512 << 10;
const KERNEL_END = '_end';
/** Of the symbols of code the last one: data may have none. */
const TEXT_END = '_etext';
const PAE = 1n << 5n;

type Rights = 'code' | 'data';

/**
 * Memory of the machine that the guest does not know, mapped into the kernel's half of every address space: as a large page
 * in free entries of a page directory that all of them share. docs/decisions/0020-text-for-ops.md. There is one entry to
 * execute and one to write.
 */
export class TextMemory {
  readonly #kernel: RunningKernel;
  readonly #windows = new Map<Rights, bigint>();
  #nextData: number;
  readonly #dataEnd: number;
  #nextCode: number;
  readonly #codeEnd: number;

  /** Before one is made: a guest may have written to it all the same. */
  static *clear({ memory, hiddenMemory: { gpa, sizeBytes } }: Machine): Steps<void> {
    for (let at = 0; at < sizeBytes; at += CLEARED_BYTES) {
      yield;
      memory.fill(gpa + at, Math.min(CLEARED_BYTES, sizeBytes - at), 0);
    }
  }

  /** Of memory that is {@link clear}. Throws PV5011 where there is none or no hole. Must be called while the kernel is mapped. */
  constructor(kernel: RunningKernel) {
    this.#kernel = kernel;
    const { gpa, sizeBytes } = kernel.machine.hiddenMemory;
    if (sizeBytes === 0) throw nowhere('the machine keeps no memory for ops of a guest that a plug-in has started');
    this.#nextData = gpa;
    this.#dataEnd = gpa + DATA_BYTES;
    this.#nextCode = this.#dataEnd;
    this.#codeEnd = gpa + sizeBytes;
    this.#window('code');
    this.#window('data');
  }

  /** Guest-virtual address of the memory's start with these rights; mapped when it is first asked for. */
  #window(rights: Rights): bigint {
    const known = this.#windows.get(rights);
    if (known !== undefined) return known;
    const { machine } = this.#kernel;
    const hole = findHole(this.#kernel);
    if (!hole) throw nowhere("the kernel's page directory has no free entry");
    const noExecute = machine.vcpus[0].efer & NXE ? EXECUTE_DISABLE : 0n;
    const bits = rights === 'code' ? READ_ONLY : WRITABLE | noExecute;
    machine.memory.write64(hole.entryGpa, BigInt(machine.hiddenMemory.gpa) | bits);
    for (const vcpu of machine.vcpus) vcpu.flushTlb();
    this.#windows.set(rights, hole.gva);
    return hole.gva;
  }
  #gvaOf(gpa: number, rights: Rights): bigint {
    return this.#window(rights) + BigInt(gpa - this.#kernel.machine.hiddenMemory.gpa);
  }

  /** Code: executable, and only to be read by the guest. Throws PV5013. */
  allocateText(sizeBytes: number, alignBytes = ALIGN): TextPlace {
    const gpa = align(this.#nextCode, alignBytes);
    if (sizeBytes > this.#codeEnd - gpa) throw full(sizeBytes, this.#codeEnd - gpa);
    this.#nextCode = gpa + sizeBytes;
    return { gva: this.#gvaOf(gpa, 'code'), gpa, sizeBytes };
  }
  /** Zeroed memory that guest code may write. */
  allocateData(sizeBytes: number, alignBytes = ALIGN): TextPlace {
    const gpa = align(this.#nextData, alignBytes);
    if (sizeBytes > this.#dataEnd - gpa) throw full(sizeBytes, this.#dataEnd - gpa);
    this.#nextData = gpa + sizeBytes;
    return { gva: this.#gvaOf(gpa, 'data'), gpa, sizeBytes };
  }
  /** Whether an address lies in it. */
  holds(gva: bigint): boolean {
    return [...this.#windows.values()].some((first) => gva >= first && gva < first + BigInt(LARGE_BYTES));
  }
}

const align = (value: number, to: number) => Math.ceil(value / to) * to;
const nowhere = (why: string) =>
  new PolyvisorError('PV5011', `there is no place for ops in this guest: ${why}`, 'boot the kernel natively', 10);
const full = (wanted: number, left: number) =>
  new PolyvisorError('PV5013', `no room for ${wanted} bytes of ops, ${left} are left`, 'restart the guest', 10);

interface Hole {
  readonly gva: bigint;
  /** Guest-physical address of the page-directory entry that is free. */
  readonly entryGpa: number;
}

function findHole(kernel: RunningKernel): Hole | undefined {
  return kernel.wordBytes === 8 ? holeInImageDirectory(kernel) : holeAboveDirectMap(kernel);
}

/** The directory that maps the kernel's text, from the image's end up. */
function holeInImageDirectory(kernel: RunningKernel): Hole | undefined {
  const { memory, vcpus } = kernel.machine;
  const end = kernel.symbol(KERNEL_END);
  if (end === undefined) return undefined;
  let table = Number(vcpus[0].cr3 & ADDRESS);
  for (const shift of [39n, 30n]) {
    const entry = readEntry(memory, table, Number((end >> shift) & 511n));
    if (entry === undefined || !(entry & PRESENT) || entry & LARGE) return undefined;
    table = Number(entry & ADDRESS);
  }
  const first = Number(((end + BigInt(LARGE_BYTES - 1)) >> 21n) & 511n);
  for (let index = first; index < ENTRIES; index++) {
    if (readEntry(memory, table, index) !== 0n) continue;
    const gva = (end & ~((1n << 30n) - 1n)) | (BigInt(index) << 21n);
    return { gva, entryGpa: table + index * 8 };
  }
  return undefined;
}

/**
 * On i386 the kernel lies in the direct map, and vmalloc leaves 8 MiB free above it (Linux, pgtable_32_areas.h,
 * VMALLOC_OFFSET): the two first free entries above the kernel are there, or where the direct map has no memory.
 */
function holeAboveDirectMap(kernel: RunningKernel): Hole | undefined {
  const { memory, vcpus } = kernel.machine;
  const [vcpu] = vcpus;
  const text = kernel.symbol(TEXT_END);
  if (text === undefined || !(vcpu.cr4 & PAE)) return undefined;
  const pointers = Number(vcpu.cr3 & 0xffffffe0n);
  const large = BigInt(LARGE_BYTES);
  for (let gva = (text / large + 1n) * large; gva < 1n << 32n; gva += large) {
    const entry = readEntry(memory, pointers, Number(gva >> 30n));
    if (entry === undefined || !(entry & PRESENT)) return undefined;
    const entryGpa = Number(entry & ADDRESS) + Number((gva >> 21n) & 511n) * 8;
    const page = readEntry(memory, entryGpa, 0);
    if (page === undefined) return undefined;
    if (page === 0n) return { gva, entryGpa };
  }
  return undefined;
}

/** `undefined`: the table lies outside of memory. */
function readEntry(memory: RunningKernel['machine']['memory'], table: number, index: number): bigint | undefined {
  const at = table + index * 8;
  return at + 8 <= memory.sizeBytes ? memory.read64(at) : undefined;
}
