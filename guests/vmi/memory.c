/* Page tables of 32-bit paging. */
#include "vmi.h"

enum { P = 1, RW = 2, LARGE = 0x80 };
enum { PT = 1, PD = 2, PDP = 4, PML4 = 8, PAE = 0x10, CLONE = 0x20, ZEROED = 0x40 };
enum { CURRENT_AS = 0x10, DEFER = 0x20 };
enum { TLB = 1, GLOBAL = 2 };
enum { CR0_PG = 1u << 31, CR4_PSE = 0x10 };

static __attribute__((aligned(4096))) u32 directory[1024], table[1024];
static __attribute__((aligned(4096))) u32 one[1024], two[1024];
/* Mapped by `table`; nothing else is there. */
#define WINDOW 0x40000000u
#define NOWHERE 0x80000000u

static void start_paging(void) {
  for (u32 i = 0; i < 1024; i++) directory[i] = i << 22 | LARGE | RW | P;
  directory[WINDOW >> 22] = (u32)table | RW | P;
  directory[NOWHERE >> 22] = 0;
  one[0] = 1;
  two[0] = 2;
  vmi(GetCR4, 0, 0, 0, 0, 0);
  vmi(SetCR4, RESULT | CR4_PSE, 0, 0, 0, 0);
  vmi(SetCR3, (u32)directory, 0, 0, 0, 0);
  vmi(GetCR0, 0, 0, 0, 0, 0);
  check("SetCR0 turns paging on", vmi(SetCR0, RESULT | CR0_PG, 0, 0, 0, 0) == NONE);
}

static void test_entries(void) {
  section("SetPxE, UpdatePxE, InvalPage, FlushTLB");
  check("SetPxE returns", vmi(SetPxE, (u32)one | RW | P, (u32)&table[0], PT, 0, 0) == NONE);
  check_equal("the entry maps its page", read32(WINDOW), 1);
  check("SetPxE of the current address space", vmi(SetPxE, (u32)two | RW | P, (u32)&table[0], PT | CURRENT_AS | WINDOW, 0, 0) == NONE);
  check("InvalPage returns", vmi(InvalPage, WINDOW, 0, 0, 0, 0) == NONE);
  check_equal("it maps another page", read32(WINDOW), 2);
  vmi(SetPxE, (u32)one | RW | P, (u32)&table[0], PT | CURRENT_AS | DEFER | WINDOW, 0, 0);
  if (is_called(SetPxE)) check_equal("one that waits has not happened", table[0], (u32)two | RW | P | 0x20);
  check("FlushTLB returns", vmi(FlushTLB, TLB, 0, 0, 0, 0) == NONE);
  check_equal("after FlushTLB it has", read32(WINDOW), 1);
  table[0] = (u32)two | RW | P;
  check("UpdatePxE returns", vmi(UpdatePxE, (u32)&table[0], PT | CURRENT_AS | DEFER | WINDOW, 0, 0, 0) == NONE);
  vmi(FlushTLB, TLB | GLOBAL, 0, 0, 0, 0);
  check_equal("an entry that the guest wrote", read32(WINDOW), 2);
}

static void test_lazy(void) {
  if (!is_called(SetLazyMode)) return;
  section("SetLazyMode");
  check("of the MMU", vmi(SetLazyMode, 1, 0, 0, 0, 0) == NONE);
  vmi(SetPxE, (u32)one | RW | P, (u32)&table[0], PT | CURRENT_AS | DEFER | WINDOW, 0, 0);
  check("none", vmi(SetLazyMode, 0, 0, 0, 0, 0) == NONE);
  check_equal("what waited has happened", table[0], (u32)one | RW | P);
  check("of the CPU", vmi(SetLazyMode, 2, 0, 0, 0, 0) == NONE);
  check("one that there is not", vmi(SetLazyMode, 3, 0, 0, 0, 0) == NONE);
  vmi(SetLazyMode, 0, 0, 0, 0, 0);
}

static void test_wrong_entries(void) {
  if (!is_called(SetPxE)) return;
  u32 entry = table[1];
  check("SetPxE where no page is", vmi(SetPxE, 0, NOWHERE, PT, 0, 0) == PF);
  check("UpdatePxE where no page is", vmi(UpdatePxE, NOWHERE, PT, 0, 0, 0) == PF);
  check("SetPxE with unknown flags returns", vmi(SetPxE, 5, (u32)&table[1], PT | 0x80, 0, 0) == NONE);
  check("of two levels", vmi(SetPxE, 5, (u32)&table[1], PT | PD, 0, 0) == NONE);
  check("of a level that there is not", vmi(SetPxE, 5, (u32)&table[1], PML4, 0, 0) == NONE);
  check("across entries", vmi(SetPxE, 5, (u32)&table[1] + 2, PT, 0, 0) == NONE);
  check("of a device", vmi(SetPxE, 5, LOCAL_APIC + 0x80, PT, 0, 0) == NONE);
  check_equal("nothing is written", table[1], entry);
  check("FlushTLB with unknown flags", vmi(FlushTLB, 4, 0, 0, 0, 0) == NONE);
  check("SetGDT where no page is", vmi(SetGDT, NOWHERE, 0, 0, 0, 0) == PF);
  check("WriteGDTEntry where no page is", vmi(WriteGDTEntry, NOWHERE, 1, 0, 0, 0) == PF);
  check("SetInitialAPState where no page is", vmi(SetInitialAPState, NOWHERE, 1, 0, 0, 0) == PF);
}

static void test_pages(void) {
  if (!is_called(AllocatePage)) return;
  u32 pfn = (u32)table >> 12;
  section("AllocatePage, ReleasePage, SetLinearMapping, MachineToPhysical, PhysicalToMachine");
  check("AllocatePage returns", vmi(AllocatePage, pfn, PT | ZEROED, 0, 0, 0) == NONE);
  check("a clone", vmi(AllocatePage, (u32)directory >> 12, PD | CLONE, pfn, 768, 256) == NONE);
  check("ReleasePage returns", vmi(ReleasePage, pfn, PT, 0, 0, 0) == NONE);
  check("SetLinearMapping returns", vmi(SetLinearMapping, 0, 0, 0x1000, 0, 0) == NONE);
  vmi(PhysicalToMachine, 0x123, 0, 0, 0, 0);
  vmi(MachineToPhysical, RESULT, 0, 0, 0, 0);
  check_equal("a frame, there and back", RESULT, 0x123);
  /* Each is counted by the plug-in as one that means nothing. */
  check("AllocatePage of no level", vmi(AllocatePage, pfn, ZEROED, 0, 0, 0) == NONE);
  check("of two levels", vmi(AllocatePage, pfn, PT | PD, 0, 0, 0) == NONE);
  check("of no memory", vmi(AllocatePage, 0xffffffff, PT, 0, 0, 0) == NONE);
  check("with unknown flags", vmi(AllocatePage, pfn, PT | 0x80, 0, 0, 0) == NONE);
  check("a clone of too much", vmi(AllocatePage, pfn, PD | CLONE, pfn, 1024, 0xfffffff0) == NONE);
  check("ReleasePage of no page table", vmi(ReleasePage, pfn, PT, 0, 0, 0) == NONE);
  check("of another level", vmi(ReleasePage, (u32)directory >> 12, PT, 0, 0, 0) == NONE);
  check("SetLinearMapping of no slot", vmi(SetLinearMapping, 4, 0, 1, 0, 0) == NONE);
  check("within a page", vmi(SetLinearMapping, 1, 5, 1, 0, 0) == NONE);
  check("beyond the address space", vmi(SetLinearMapping, 1, 0xfffff000, 2, 0, 0) == NONE);
}

void test_memory(void) {
  start_paging();
  test_entries();
  test_lazy();
  test_wrong_entries();
  test_pages();
  vmi(GetCR0, 0, 0, 0, 0, 0);
  vmi(SetCR0, RESULT & ~CR0_PG, 0, 0, 0, 0);
}
