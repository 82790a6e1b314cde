/* Page tables of PAE paging. */
#include "vmi.h"

enum { P = 1, RW = 2, LARGE = 0x80 };
enum { PT = 1, PD = 2, PDP = 4, CURRENT_AS = 0x10, DEFER = 0x20, TLB = 1 };
enum { CR0_PG = 1u << 31, CR4_PAE = 0x20 };

static __attribute__((aligned(32))) u64 pointers[4];
static __attribute__((aligned(4096))) u64 directories[4][512], table[512];
static __attribute__((aligned(4096))) u32 one[1024], two[1024];
#define WINDOW 0x40000000u

static void start_paging(void) {
  for (u32 i = 0; i < 4 * 512; i++) directories[i / 512][i % 512] = (u64)i << 21 | LARGE | RW | P;
  for (u32 i = 0; i < 4; i++) pointers[i] = (u32)directories[i] | P;
  directories[1][0] = (u32)table | RW | P;
  pointers[2] = 0;
  one[0] = 1;
  two[0] = 2;
  vmi(GetCR4, 0, 0, 0, 0, 0);
  vmi(SetCR4, RESULT | CR4_PAE, 0, 0, 0, 0);
  vmi(SetCR3, (u32)pointers, 0, 0, 0, 0);
  vmi(GetCR0, 0, 0, 0, 0, 0);
  check("SetCR0 turns PAE paging on", vmi(SetCR0, RESULT | CR0_PG, 0, 0, 0, 0) == NONE);
}

static int set(u32 value, u64 *entry, u32 flags) { return vmi(SetPxELong, value, 0, (u32)entry, flags, 0); }

void test_pae(void) {
  start_paging();
  section("SetPxELong, UpdatePxELong");
  check("SetPxELong returns", set((u32)one | RW | P, &table[0], PT) == NONE);
  check_equal("the entry maps its page", read32(WINDOW), 1);
  set((u32)two | RW | P, &table[0], PT | CURRENT_AS | DEFER | WINDOW);
  vmi(InvalPage, WINDOW, 0, 0, 0, 0);
  check_equal("after InvalPage it maps another", read32(WINDOW), 2);
  table[0] = (u32)one | RW | P;
  check("UpdatePxELong returns", vmi(UpdatePxELong, (u32)&table[0], PT, 0, 0, 0) == NONE);
  vmi(InvalPage, WINDOW, 0, 0, 0, 0);
  check_equal("an entry that the guest wrote", read32(WINDOW), 1);
  check("SetPxELong of an upper entry", set((u32)directories[1] | P, &pointers[2], PDP) == NONE);
  check_equal("takes effect by itself", read32(0x80000000), 1);
  if (is_called(SetPxELong)) {
    set(0, &pointers[2], PDP);
    check("where no page is", set(0, (u64 *)0x80000000, PT) == PF);
    check("UpdatePxELong where no page is", vmi(UpdatePxELong, 0x80000000, PT, 0, 0, 0) == PF);
    check("across entries returns", vmi(SetPxELong, 5, 5, (u32)&table[0] + 4, PT, 0) == NONE);
    check_equal("and writes nothing", (u32)(table[0] >> 32), 0);
  }
}
