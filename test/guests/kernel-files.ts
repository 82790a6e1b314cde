/** Kernel files made for tests: the least that is recognised as what it is. */

const LOAD_ADDRESS = 0xffffffff81000000n;
const CODE_OFFSET = 0x1000;

/** A 64-bit ELF executable of one segment that halts, without any note (ELF-64 Object File Format, 1.5). */
export function elfWithoutNotes(): Buffer {
  const file = Buffer.alloc(CODE_OFFSET + 2);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.writeUInt16LE(2, 16); // e_type: ET_EXEC
  file.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  file.writeUInt32LE(1, 20); // e_version
  file.writeBigUInt64LE(LOAD_ADDRESS, 24); // e_entry
  file.writeBigUInt64LE(64n, 32); // e_phoff
  file.writeUInt16LE(64, 52); // e_ehsize
  file.writeUInt16LE(56, 54); // e_phentsize
  file.writeUInt16LE(1, 56); // e_phnum
  file.writeUInt32LE(1, 64); // p_type: PT_LOAD
  file.writeUInt32LE(5, 68); // p_flags: read, execute
  file.writeBigUInt64LE(BigInt(CODE_OFFSET), 72); // p_offset
  file.writeBigUInt64LE(LOAD_ADDRESS, 80); // p_vaddr
  file.writeBigUInt64LE(0x1000000n, 88); // p_paddr
  file.writeBigUInt64LE(2n, 96); // p_filesz
  file.writeBigUInt64LE(2n, 104); // p_memsz
  file.writeBigUInt64LE(0x1000n, 112); // p_align
  file.set([0xf4, 0xf4], CODE_OFFSET);
  return file;
}

const SECTOR_BYTES = 512;
const PROTOCOL = 0x20f;

/** A bzImage around a payload (Linux, Documentation/arch/x86/boot.rst). */
export function bzImageOf(payload: Uint8Array): Buffer {
  const setup = Buffer.alloc(2 * SECTOR_BYTES);
  setup[0x1f1] = 1; // setup_sects
  setup.writeUInt16LE(0xaa55, 0x1fe); // boot_flag
  setup.write('HdrS', 0x202);
  setup.writeUInt16LE(PROTOCOL, 0x206);
  setup.writeUInt32LE(0, 0x248); // payload_offset
  setup.writeUInt32LE(payload.length, 0x24c); // payload_length
  return Buffer.concat([setup, payload]);
}
