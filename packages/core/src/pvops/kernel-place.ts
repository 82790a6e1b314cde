import type { ElfImage } from '@polyvisor/plugin-api';
import type { Steps } from '../loader/image/steps.ts';
import type { SymbolTable } from '../loader/image/symbol-table.ts';
import type { Machine } from '../machine/index.ts';
import { KernelImage } from './kernel-image.ts';

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

/** A kernel's file, as far as it tells where the kernel is. */
export interface KernelNames {
  readonly symbols: SymbolTable;
  readonly wordBytes: 4 | 8;
}

/** The version string. */
export interface Banner {
  readonly address: bigint;
  /** With the zero at its end. */
  readonly bytes: Uint8Array;
}

/** The version string, by its symbol; where data have no symbols, all that could be it. */
export function* bannersOf(elf: ElfImage, { symbols }: KernelNames): Steps<Banner[]> {
  const image = new KernelImage(elf);
  const bySymbol = symbols.address(BANNER);
  const addresses = bySymbol === undefined ? yield* image.find(BANNER_START, MOST_BANNERS) : [bySymbol];
  return addresses.flatMap((address) => {
    const bytes = image.bytesAt(address, LONGEST_BANNER_BYTES);
    const sizeBytes = (bytes?.indexOf(0) ?? -1) + 1;
    return bytes && sizeBytes > 1 ? [{ address, bytes: bytes.subarray(0, sizeBytes) }] : [];
  });
}

/**
 * What is to be added to an address in a Linux kernel's file, that it is where the kernel has moved itself to (KASLR): it follows
 * from where the processor is told to enter the kernel, LSTAR or the IDT, and the version string must lie there.
 * `undefined`: the guest does not run it, not yet, or its memory is not mapped at this moment (KPTI, in user space).
 */
export function findSlide(machine: Machine, names: KernelNames, banners: readonly Banner[]): bigint | undefined {
  const holds = ({ address, bytes }: Banner, slide: bigint) => {
    const gva = BigInt.asUintN(names.wordBytes * 8, address + slide);
    const found = machine.running.read(gva, bytes.length, { as: 'supervisor' });
    return found.ok && found.bytes.every((byte, i) => byte === bytes[i]);
  };
  for (const slide of banners.length > 0 ? slides(machine, names) : [])
    if (banners.some((banner) => holds(banner, slide))) return slide;
  return undefined;
}

/** By how much the kernel may have moved, best guess first. */
function slides(machine: Machine, { symbols, wordBytes }: KernelNames): Set<bigint> {
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
