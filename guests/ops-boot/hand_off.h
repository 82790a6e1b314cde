/* What is in low memory when the kernel is entered, for C and assembly. */
#pragma once

#define BOOT_CS                 0x10
#define BOOT_DS                 0x18

#define ZERO_PAGE_BYTES         4096
#define COMMAND_LINE_BYTES      4096    /* with its NUL */
#define CODE_BYTES              256

/* As in boot.h. */
#ifdef __ASSEMBLER__
#define RSDP_BYTES              64
#endif

#define HAND_OFF_COMMAND_LINE   ZERO_PAGE_BYTES
#define HAND_OFF_RSDP           (HAND_OFF_COMMAND_LINE + COMMAND_LINE_BYTES)
#define HAND_OFF_CODE           (HAND_OFF_RSDP + RSDP_BYTES)
#define HAND_OFF_GDT            (HAND_OFF_CODE + CODE_BYTES)
#define HAND_OFF_GDTR           (HAND_OFF_GDT + 32)
#define HAND_OFF_FROM           (HAND_OFF_GDTR + 8)
#define HAND_OFF_TO             (HAND_OFF_FROM + 4)
#define HAND_OFF_BYTES          (HAND_OFF_TO + 4)
#define HAND_OFF_ENTRY          (HAND_OFF_BYTES + 4)
#define HAND_OFF_STACK          (HAND_OFF_ENTRY + 4)
#define HAND_OFF_STACK_END      (HAND_OFF_STACK + 256)

#ifndef __ASSEMBLER__
#include "boot.h"

struct hand_off {
  uint8_t zero_page[ZERO_PAGE_BYTES];
  char command_line[COMMAND_LINE_BYTES];
  uint8_t rsdp[RSDP_BYTES];
  uint8_t code[CODE_BYTES];
  uint64_t gdt[4];
  struct {
    uint16_t limit;
    uint32_t base;
    uint16_t unused;
  } __attribute__((packed)) gdtr;
  uint32_t from, to, bytes, entry;
  uint8_t stack[256];
};
_Static_assert(offsetof(struct hand_off, gdtr) == HAND_OFF_GDTR, "as the assembly has it");
_Static_assert(offsetof(struct hand_off, entry) == HAND_OFF_ENTRY, "as the assembly has it");
_Static_assert(sizeof(struct hand_off) == HAND_OFF_STACK_END, "as the assembly has it");

/* Moves the kernel and enters it. */
void enter(struct hand_off *hand_off) __attribute__((noreturn));
extern const uint8_t enter_code[CODE_BYTES];
#endif
