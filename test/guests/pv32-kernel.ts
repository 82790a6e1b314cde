/** 32-bit Xen PV kernels of a few instructions, made for tests. */

const VIRT_BASE = 0xc000_0000;
const LOAD_ADDRESS = 0x10_0000;
/** Linear address of the first byte of the kernel's one segment, which is writable and executable, and its size. */
export const BASE_32 = VIRT_BASE + LOAD_ADDRESS;
export const SEGMENT_BYTES_32 = 0x4000;
/** XEN_ELFNOTE_* (public/elfnote.h). */
const Note = { ENTRY: 1, VIRT_BASE: 3, XEN_VERSION: 5, LOADER: 8, PAE_MODE: 9 } as const;
const HYPERCALL_REGISTERS = [3, 1, 2, 6, 7];

export const imm32 = (value: number): number[] => [...new Uint8Array(Uint32Array.of(value >>> 0).buffer)];
/** mov register, value */
export const move = (register: number, value: number): number[] => [0xb8 + register, ...imm32(value)];
/** A hypercall: EBX ECX EDX ESI EDI, EAX, INT 0x82. */
export const call32 = (number: number, ...args: number[]): number[] => [
  ...args.flatMap((value, index) => move(HYPERCALL_REGISTERS[index], value)),
  ...move(0, number),
  ...[0xcd, 0x82],
];

function note(type: number, value: string | number): Buffer {
  const desc = typeof value === 'string' ? Buffer.from(`${value}\0`) : Buffer.from(imm32(value));
  const header = Buffer.from([...imm32(4), ...imm32(desc.length), ...imm32(type), ...Buffer.from('Xen\0')]);
  return Buffer.concat([header, desc, Buffer.alloc(-desc.length & 3)]);
}

/** An ELF file of one PT_LOAD and one PT_NOTE (System V ABI, chapters 4 and 5). */
export function pv32Kernel(bytes: readonly number[]): Buffer {
  const notes = Buffer.concat([
    note(Note.ENTRY, BASE_32),
    note(Note.VIRT_BASE, VIRT_BASE),
    note(Note.XEN_VERSION, 'xen-3.0'),
    note(Note.LOADER, 'generic'),
    note(Note.PAE_MODE, 'yes'),
  ]);
  const file = Buffer.alloc(0x1000 + SEGMENT_BYTES_32);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  const header = (type: number, offset: number, size: number) =>
    [type, offset, BASE_32, LOAD_ADDRESS, size, size, 7, 0x1000].flatMap(imm32);
  file.set(
    [2, 0, 3, 0, ...imm32(1), ...imm32(BASE_32), ...imm32(52), ...imm32(0), ...imm32(0), 52, 0, 32, 0, 2, 0],
    16,
  );
  file.set([...header(1, 0x1000, SEGMENT_BYTES_32), ...header(4, 0x200, notes.length)], 52);
  notes.copy(file, 0x200);
  file.set(bytes, 0x1000);
  return file;
}
