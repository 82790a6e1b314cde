/* One rule broken, as the command line says: the host ends the guest and says why. */
#include "guest.h"

/* Page faults that are in order: the host has what it needs for them at hand then. */
static void fault_in_order(void)
{
  for (int i = 0; i < 4; i++) fault_at((u32 *)0x50000000);
}

void break_rule(const char *which)
{
#define RULE(name, ...) if (same(which, name)) { __VA_ARGS__; return; }
  static u32 words[64];
  RULE("before-init", hcall(HALT, 0, 0, 0, 0))
  RULE("bad-data", hcall(LGUEST_INIT, 0xfffffff0, 0, 0, 0))
  RULE("other-way", hcall_otherwise(LGUEST_INIT, PA(lguest_data), 0, 0, 0))
  RULE("bad-vector", *syscall_vec = 3)
  RULE("bad-kernel-address", *kernel_address = 0xfff00000)
  RULE("init-twice", hcall(LGUEST_INIT, PA(lguest_data), 0, 0, 0))
  RULE("number", hcall(99, 0, 0, 0, 0))
  RULE("gap", hcall(11, 0, 0, 0, 0))
  RULE("number-in-ring", hcall_in_ring(0, 77, 0, 0, 0, 0); hcall(FLUSH_ASYNC, 0, 0, 0, 0))
  RULE("gdt-entry", hcall(era->words == 5 ? LOAD_GDT_ENTRY : LOAD_GDT, era->words == 5 ? 32 : PA(words), 33, 0, 0))
  RULE("idt-entry", hcall(LOAD_IDT_ENTRY, 256, 0, 0x8e00, 0))
  RULE("idt-type", hcall(LOAD_IDT_ENTRY, 5, 0, 0x8500, 0))
  RULE("stack-level", hcall(SET_STACK, 0x68, (u32)words, 1, 0))
  RULE("stack-pages", hcall(SET_STACK, 0x69, (u32)words, 3, 0))
  RULE("stack-page", hcall(SET_STACK, 0x69, 0x80000000, 1, 0))
  RULE("pgdir", hcall(NEW_PGTABLE, 0xfffff000, 0, 0, 0))
  RULE("pgdir-odd", hcall(NEW_PGTABLE, 0x100010, 0, 0, 0))
  RULE("pte", hcall(SET_PTE, *pgdir, 0x40000000, 0xfffff067, 0))
  RULE("pte-large", hcall(SET_PTE, *pgdir, 0x40000000, 0xe7, 0))
  RULE("pte-switcher", hcall(SET_PTE, *pgdir, 0xffc00000, 0, 0))
  RULE("pgd", take_tables(); own_tables[5] = 0xfffff067; hcall(SET_PGD, PA(own_tables), 5, 0, 0))
  RULE("pgd-flags", take_tables(); own_tables[5] = 0x10e7; hcall(SET_PGD, PA(own_tables), 5, 0, 0))
  RULE("pgd-silent", take_tables(); fault_in_order(); own_tables[5] = 0xfffff067; *(volatile u32 *)0x1400000 = 1)
  RULE("pte-silent", take_tables(); fault_in_order(); u32 *leaf = page(); leaf[0] = 0xfff00067; own_tables[5] = PA(leaf) | 0x67;
       *(volatile u32 *)0x1400000 = 1; hcall(FLUSH_ASYNC, 0, 0, 0, 0))
  RULE("pdpte", take_tables(); own_tables[2] |= 0x67; hcall(SET_PGD, PA(own_tables), 1, 0, 0))
  RULE("pdpte-new", take_tables(); own_tables[3] = 1; hcall(NEW_PGTABLE, PA(own_tables), 0, 0, 0))
  RULE("pmd-flags", words[2] = 0x1e7; hcall(SET_PMD, PA(words), 1, 0, 0))
  RULE("pte-high", hcall(SET_PTE, *pgdir, 0x40000000, 0x67, 1))
  RULE("pmd-silent", take_tables(); fault_in_order(); u32 *middle = VA(own_tables[0] & ~0xfffu); middle[10] = 0xfffff067;
       *(volatile u32 *)0xa00000 = 1)
  RULE("pmd", hcall(SET_PMD, PA(words), 0, 0, 0))
  RULE("tls", hcall(LOAD_TLS, 0xffffffff, 0, 0, 0))
  RULE("notify", hcall(NOTIFY, 0xfffffff0, 0, 0, 0))
  RULE("message", hcall(SHUTDOWN, 0xffffffff, POWEROFF, 0, 0))
  RULE("trap", hcall(LOAD_IDT_ENTRY, 6, 0, 0, 0); asm volatile("ud2"))
  RULE("kernel-code", hcall(LOAD_GDT_ENTRY, 12, 0, 0, 0); asm volatile("int3"))
  RULE("kernel-stack", asm volatile("movl $0x80000000, %%esp; int3" : : : "memory"))
  print("no such rule: ");
  print(which);
  print("\n");
}
