#include "vmi.h"

/* The 16550 at COM1 (PC16550D data sheet): line status at offset 5, bit 5: the transmitter has room. */
static void put(char c) {
  while (!(inb(0x3fd) & 0x20)) {
  }
  outb(0x3f8, (u8)c);
}

void print(const char *text) {
  while (*text) put(*text++);
}

void print_hex(u32 value) {
  print("0x");
  for (int shift = 28; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}

void print_decimal(u32 value) {
  if (value >= 10) print_decimal(value / 10);
  put((char)('0' + value % 10));
}

u32 checks, failures;

void section(const char *name) {
  print("- ");
  print(name);
  print("\n");
}

void check(const char *what, int holds) {
  checks++;
  if (holds) return;
  failures++;
  print("FAILED: ");
  print(what);
  print("\n");
}

void check_equal(const char *what, u32 got, u32 expected) {
  check(what, got == expected);
  if (got == expected) return;
  print("  ");
  print_hex(got);
  print(" instead of ");
  print_hex(expected);
  print("\n");
}
