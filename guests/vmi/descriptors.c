/* Descriptor tables, their registers and their entries. */
#include "vmi.h"

enum { TSS_SELECTOR = 0x28, LDT_SELECTOR = 0x30, OWN = 10, VECTOR = 0x60 };
#define DATA_LOW 0x0000ffffu
#define DATA_HIGH 0x00cf9300u

static u64 ldt[4];
extern const u8 trap_stubs[];

static void test_registers(void) {
  struct pointer read;
  section("SetGDT, GetGDT, SetIDT, GetIDT, SetLDT, GetLDT, SetTR, GetTR");
  check("SetGDT returns", vmi(SetGDT, (u32)&gdt_pointer, 0, 0, 0, 0) == NONE);
  check("GetGDT returns", vmi(GetGDT, (u32)&read, 0, 0, 0, 0) == NONE);
  check("GDTR holds what was set", read.base == gdt_pointer.base && read.limit == gdt_pointer.limit);
  check("SetIDT returns", vmi(SetIDT, (u32)&idt_pointer, 0, 0, 0, 0) == NONE);
  check("GetIDT returns", vmi(GetIDT, (u32)&read, 0, 0, 0, 0) == NONE);
  check("IDTR holds what was set", read.base == idt_pointer.base && read.limit == idt_pointer.limit);
  check("SetTR returns", vmi(SetTR, TSS_SELECTOR, 0, 0, 0, 0) == NONE);
  check("GetTR returns", vmi(GetTR, 0, 0, 0, 0, 0) == NONE);
  check_equal("TR holds what was set", RESULT & 0xffff, TSS_SELECTOR);
  check("SetTR of a TSS that is busy", vmi(SetTR, TSS_SELECTOR, 0, 0, 0, 0) == GP);
  check("SetTR beyond the table", vmi(SetTR, 0xfff8, 0, 0, 0, 0) == GP);
  check("SetLDT of code", vmi(SetLDT, 8, 0, 0, 0, 0) == GP);
  check("SetLDT of nothing returns", vmi(SetLDT, 0, 0, 0, 0, 0) == NONE);
  check("GetLDT returns", vmi(GetLDT, 0xffff, 0, 0, 0, 0) == NONE);
  check_equal("LDTR holds what was set", RESULT & 0xffff, 0);
}

static void test_entries(void) {
  section("WriteGDTEntry, WriteLDTEntry, WriteIDTEntry");
  check("WriteGDTEntry returns", vmi(WriteGDTEntry, (u32)gdt, OWN, DATA_LOW, DATA_HIGH, 0) == NONE);
  check("the GDT has the entry", gdt[OWN] == ((u64)DATA_HIGH << 32 | DATA_LOW));
  __asm__ volatile("movw %w0, %%fs" : : "r"(OWN * 8));
  u32 base = (u32)ldt;
  u32 high = (base & 0xff000000) | 0x8200 | (base >> 16 & 0xff);
  vmi(WriteGDTEntry, (u32)gdt, LDT_SELECTOR / 8, base << 16 | (sizeof ldt - 1), high, 0);
  check("WriteLDTEntry returns", vmi(WriteLDTEntry, (u32)ldt, 1, DATA_LOW, DATA_HIGH, 0) == NONE);
  check("SetLDT returns", vmi(SetLDT, LDT_SELECTOR, 0, 0, 0, 0) == NONE);
  vmi(GetLDT, 0, 0, 0, 0, 0);
  check_equal("LDTR holds what was set", RESULT & 0xffff, LDT_SELECTOR);
  __asm__ volatile("movw %w0, %%gs" : : "r"(1 * 8 | 4));
  __asm__ volatile("movw %w0, %%gs" : : "r"(0x10));
  u32 stub = (u32)trap_stubs + 16 * 0x20;
  u32 before = timer_interrupts;
  check("WriteIDTEntry returns",
        vmi(WriteIDTEntry, (u32)idt, VECTOR, 8 << 16 | (stub & 0xffff), (stub & 0xffff0000) | 0x8e00, 0) == NONE);
  __asm__ volatile("int $0x60" : : : "memory");
  check_equal("the gate leads to its handler", timer_interrupts, before + 1);
}

static void test_wrong_entries(void) {
  if (!is_called(WriteGDTEntry)) return;
  u32 first = (u32)gdt[1];
  check("an entry beyond a GDT returns", vmi(WriteGDTEntry, (u32)gdt, 8192, 1, 2, 0) == NONE);
  check("one beyond all addresses, too", vmi(WriteGDTEntry, (u32)gdt, 0x20000001, 1, 2, 0) == NONE);
  check_equal("and writes nothing", (u32)gdt[1], first);
  u64 after = *(volatile u64 *)((u32)idt + 2048);
  check("an entry beyond an IDT returns", vmi(WriteIDTEntry, (u32)idt, 256, 1, 2, 0) == NONE);
  check("and writes nothing", *(volatile u64 *)((u32)idt + 2048) == after);
}

void test_descriptors(void) {
  test_registers();
  test_entries();
  test_wrong_entries();
  section("UpdateKernelStack");
  check("UpdateKernelStack returns", vmi(UpdateKernelStack, 0x10, 0x1234, 0, 0, 0) == NONE);
  check("the TSS holds what was set", tss[1] == 0x1234 && (tss[2] & 0xffff) == 0x10);
}
