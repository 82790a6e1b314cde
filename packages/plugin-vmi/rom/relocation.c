/*
 * GetRelocationInfo (Linux 2.6.32, arch/x86/include/asm/vmi.h): what a caller puts in the place of one of its operations.
 * The ROM is linked at 0: addresses of symbols are offsets in it.
 */

struct answer {
  unsigned short offset; /* of the code, from the ROM's start */
  unsigned char type;
  unsigned char reserved;
};

extern const struct answer answers[];
extern const struct answer answers_end[];

/* Where the caller has the ROM mapped. */
static inline unsigned rom_address(void) {
  unsigned address;
  __asm__("call 1f\n1: popl %0\n\tsubl $1b, %0" : "=r"(address));
  return address;
}

/* Address in the low half, type in the next byte. Numbers that are no calls keep their native code. */
__attribute__((regparm(2))) unsigned long long vmi_get_relocation_info(unsigned call) {
  unsigned rom = rom_address();
  unsigned known = ((unsigned)answers_end - (unsigned)answers) / sizeof(struct answer);
  if (call >= known) return 0;
  const struct answer *answer = (const struct answer *)(rom + (unsigned)&answers[call]);
  /* Only calls and jumps lead somewhere. */
  unsigned address = answer->offset ? rom + answer->offset : 0;
  return (unsigned long long)answer->type << 32 | address;
}
