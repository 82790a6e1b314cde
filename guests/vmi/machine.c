#include "vmi.h"

__attribute__((aligned(8))) u64 idt[256];
struct pointer idt_pointer = {sizeof idt - 1, (u32)idt};
__attribute__((aligned(16))) u32 tss[26];
extern const u8 trap_stubs[];
volatile u32 timer_interrupts, apic_interrupts;

/* A 32-bit interrupt gate (SDM vol. 3A, figure 6-2). */
void set_gate(u32 vector, u32 address, u32 dpl) {
  idt[vector] = (u64)(address & 0xffff0000u) << 32 | (u64)(0x8e00 | dpl << 13) << 32 | 8u << 16 | (address & 0xffff);
}

/* The 8259 pair at vectors 20 and 28, all masked (8259A data sheet, ICW1 to ICW4). */
static void start_pic(void) {
  static const u16 ports[] = {0x20, 0x21, 0x21, 0x21, 0xa0, 0xa1, 0xa1, 0xa1, 0x21, 0xa1};
  static const u8 values[] = {0x11, 0x20, 4, 1, 0x11, 0x28, 2, 1, 0xff, 0xff};
  for (u32 i = 0; i < sizeof values; i++) outb(ports[i], values[i]);
}
void unmask_timer(void) { outb(0x21, 0xfe); }
void mask_timer(void) { outb(0x21, 0xff); }

void machine_start(void) {
  for (u32 vector = 0; vector < 64; vector++) set_gate(vector, (u32)trap_stubs + 16 * vector, 0);
  __asm__ volatile("lidtl idt_pointer");
  u32 base = (u32)tss;
  gdt[5] = (u64)(base >> 24) << 56 | 0x0000890000000000ull | (u64)(base & 0xffffff) << 16 | (sizeof tss - 1);
  tss[2] = 0x10;
  tss[25] = sizeof tss << 16;
  /* The 8254's counter 0 in a mode that waits for a rising gate, which never comes (8254 data sheet, mode 5). */
  outb(0x43, 0x3a);
  start_pic();
  /* The local APIC is on, with the 8259s at LINT0 (SDM vol. 3A, 10.5.1). */
  write32(LOCAL_APIC + 0xf0, 0x1ff);
  write32(LOCAL_APIC + 0x350, 0x700);
}

void on_interrupt(u32 vector) {
  if (vector == 0x20) {
    timer_interrupts++;
    outb(0x20, 0x20);
  } else if (vector == 0x30) {
    apic_interrupts++;
    write32(LOCAL_APIC + 0xb0, 0);
  } else {
    print("interrupt ");
    print_hex(vector);
    print("\n");
  }
}

__attribute__((noreturn)) void unexpected(u32 vector, u32 address) {
  failures++;
  print("FAILED: exception ");
  print_decimal(vector);
  print(" at ");
  print_hex(address);
  print("\n");
  power_off();
}

/* S5 of the ACPI registers that this machine has at port 604 (ACPI 6.3, 4.8.3.2). */
__attribute__((noreturn)) void power_off(void) {
  __asm__ volatile("outw %0, %1" : : "a"((u16)0x3400), "d"((u16)0x604));
  for (;;) __asm__ volatile("cli; hlt");
}
