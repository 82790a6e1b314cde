/** 64-bit Xen PV kernels of a few instructions, made for tests. */

export const VIRT_BASE = 0xffffffff80000000n;
const LOAD_ADDRESS = 0x100000n;
const CODE_OFFSET = 0x1000;
const NOTES_OFFSET = 0x200;
/** Where {@link PvKernelOptions.hypercallPage} puts the page: after the code's. */
const HYPERCALL_PAGE = VIRT_BASE + LOAD_ADDRESS + 0x1000n;
const SEGMENT_BYTES = 0x2000;

/** XEN_ELFNOTE_* (public/elfnote.h). */
const NoteType = { ENTRY: 1, HYPERCALL_PAGE: 2, VIRT_BASE: 3, XEN_VERSION: 5, GUEST_OS: 6, LOADER: 8, FEATURES: 10 };

export interface PvKernelOptions {
  /** At the start of the kernel's one segment; writable and executable. */
  readonly code: readonly number[];
  /** Entry, in bytes from the start of the code. */
  readonly entryOffset?: number;
  readonly hypercallPage?: boolean;
  readonly guestOs?: string;
  readonly features?: string;
}

/** A note (System V ABI, "Note Section"). */
function note(type: number, value: string | bigint): Buffer {
  const desc = typeof value === 'string' ? Buffer.from(`${value}\0`) : Buffer.alloc(8);
  if (typeof value === 'bigint') desc.writeBigUInt64LE(value);
  const header = Buffer.alloc(16);
  header.writeUInt32LE(4, 0);
  header.writeUInt32LE(desc.length, 4);
  header.writeUInt32LE(type, 8);
  header.write('Xen\0', 12);
  return Buffer.concat([header, desc, Buffer.alloc(-desc.length & 3)]);
}

function programHeader(type: number, offset: number, sizeBytes: number): Buffer {
  const header = Buffer.alloc(56);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(7, 4);
  header.writeBigUInt64LE(BigInt(offset), 8);
  header.writeBigUInt64LE(VIRT_BASE + LOAD_ADDRESS, 16);
  header.writeBigUInt64LE(LOAD_ADDRESS, 24);
  header.writeBigUInt64LE(BigInt(sizeBytes), 32);
  header.writeBigUInt64LE(BigInt(sizeBytes), 40);
  header.writeBigUInt64LE(0x1000n, 48);
  return header;
}

/** An ELF file of one PT_LOAD and one PT_NOTE (ELF-64 Object File Format, 1.5). */
export function pvKernel(options: PvKernelOptions): Buffer {
  const notes = Buffer.concat([
    note(NoteType.ENTRY, VIRT_BASE + LOAD_ADDRESS + BigInt(options.entryOffset ?? 0)),
    note(NoteType.VIRT_BASE, VIRT_BASE),
    note(NoteType.XEN_VERSION, 'xen-3.0'),
    note(NoteType.LOADER, 'generic'),
    ...(options.guestOs === undefined ? [] : [note(NoteType.GUEST_OS, options.guestOs)]),
    ...(options.features === undefined ? [] : [note(NoteType.FEATURES, options.features)]),
    ...(options.hypercallPage ? [note(NoteType.HYPERCALL_PAGE, HYPERCALL_PAGE)] : []),
  ]);
  const file = Buffer.alloc(CODE_OFFSET + SEGMENT_BYTES, 0xcc);
  file.fill(0, 0, 64).set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16); // e_type: ET_EXEC
  file.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  file.writeUInt32LE(1, 20); // e_version
  file.writeBigUInt64LE(64n, 32); // e_phoff
  file.writeUInt16LE(64, 52); // e_ehsize
  file.writeUInt16LE(56, 54); // e_phentsize
  file.writeUInt16LE(2, 56); // e_phnum
  programHeader(1, CODE_OFFSET, SEGMENT_BYTES).copy(file, 64);
  programHeader(4, NOTES_OFFSET, notes.length).copy(file, 120);
  notes.copy(file, NOTES_OFFSET);
  file.set(options.code, CODE_OFFSET);
  return file;
}

/** Little-endian 32-bit immediate. */
export function imm32(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}
/** Little-endian 64-bit immediate. */
export const imm64 = (value: bigint): number[] => [...new Uint8Array(BigUint64Array.of(value).buffer)];

/** mov eax, number ; syscall */
export const hypercall64 = (number: number): number[] => [0xb8, ...imm32(number), 0x0f, 0x05];

/** mov of a 64-bit immediate to a register. */
export const set = {
  rdi: (value: bigint) => [0x48, 0xbf, ...imm64(value)],
  rsi: (value: bigint) => [0x48, 0xbe, ...imm64(value)],
  rdx: (value: bigint) => [0x48, 0xba, ...imm64(value)],
  r9: (value: bigint) => [0x49, 0xb9, ...imm64(value)],
  r10: (value: bigint) => [0x49, 0xba, ...imm64(value)],
  rsp: (value: bigint) => [0x48, 0xbc, ...imm64(value)],
};

const SCHED_OP = 29;
const SCHEDOP_SHUTDOWN = 2;

/** Ends the domain with the reason in EDI, by a bare SYSCALL; nothing comes after. */
export const SHUTDOWN_BY_EDI: readonly number[] = [
  0x57, // push rdi
  ...[0x48, 0x89, 0xe6], // mov rsi, rsp
  ...[0xbf, ...imm32(SCHEDOP_SHUTDOWN)], // mov edi
  ...[0xb8, ...imm32(SCHED_OP)], // mov eax
  ...[0x0f, 0x05], // syscall
  ...[0x0f, 0x0b], // ud2
];

/** The same through the hypercall page. */
export const SHUTDOWN_BY_PAGE: readonly number[] = [
  0x57, // push rdi
  ...[0x48, 0x89, 0xe6], // mov rsi, rsp
  ...[0xbf, ...imm32(SCHEDOP_SHUTDOWN)], // mov edi
  ...[0x48, 0xc7, 0xc0, ...imm32(Number(BigInt.asUintN(32, HYPERCALL_PAGE)) + SCHED_OP * 32)], // mov rax
  ...[0xff, 0xd0], // call rax
  ...[0x0f, 0x0b], // ud2
];

/** mov edi, reason */
export function reason(code: number): number[] {
  return [0xbf, ...imm32(code)];
}
