/** Numbers of the ELF format: System V ABI (gABI) 4.1, chapters 4 and 5. */
export const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;

export const ElfClass = { ELFCLASS32: 1, ELFCLASS64: 2 } as const;
export const ELFDATA2LSB = 1;

export const ElfMachine = { EM_386: 3, EM_X86_64: 62 } as const;

export const SegmentType = { PT_LOAD: 1, PT_NOTE: 4 } as const;

export const SectionType = {
  SHT_PROGBITS: 1,
  SHT_SYMTAB: 2,
  SHT_RELA: 4,
  SHT_NOTE: 7,
  SHT_NOBITS: 8,
  SHT_REL: 9,
} as const;

/** e_type of a relocatable file. */
export const ET_REL = 1;

/** e_phnum value that moves the count to sh_info of section 0. */
export const PN_XNUM = 0xffff;
/** e_shstrndx value that moves the index to sh_link of section 0. */
export const SHN_XINDEX = 0xffff;

/** Field offsets of the file header, one column per class. */
export const FILE_HEADER = {
  32: {
    sizeBytes: 52,
    entry: 24,
    phoff: 28,
    shoff: 32,
    phentsize: 42,
    phnum: 44,
    shentsize: 46,
    shnum: 48,
    shstrndx: 50,
  },
  64: {
    sizeBytes: 64,
    entry: 24,
    phoff: 32,
    shoff: 40,
    phentsize: 54,
    phnum: 56,
    shentsize: 58,
    shnum: 60,
    shstrndx: 62,
  },
} as const;

export const PROGRAM_HEADER = {
  32: { sizeBytes: 32, type: 0, offset: 4, vaddr: 8, paddr: 12, filesz: 16, memsz: 20, flags: 24, align: 28 },
  64: { sizeBytes: 56, type: 0, flags: 4, offset: 8, vaddr: 16, paddr: 24, filesz: 32, memsz: 40, align: 48 },
} as const;

export const SECTION_HEADER = {
  32: { sizeBytes: 40, name: 0, type: 4, flags: 8, addr: 12, offset: 16, size: 20, link: 24, info: 28, addralign: 32 },
  64: { sizeBytes: 64, name: 0, type: 4, flags: 8, addr: 16, offset: 24, size: 32, link: 40, info: 44, addralign: 48 },
} as const;

/** Elf32_Rel and Elf32_Rela, Elf64_Rel and Elf64_Rela begin alike. */
export const RELOCATION = {
  32: { withoutAddend: 8, withAddend: 12, offset: 0, info: 4, addend: 8 },
  64: { withoutAddend: 16, withAddend: 24, offset: 0, info: 8, addend: 16 },
} as const;

export const SYMBOL = {
  32: { sizeBytes: 16, name: 0, value: 4, size: 8, info: 12, shndx: 14 },
  64: { sizeBytes: 24, name: 0, info: 4, shndx: 6, value: 8, size: 16 },
} as const;
