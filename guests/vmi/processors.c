/* Starting a second processor in a state of the caller's (SetInitialAPState), and what it has for itself. */
#include "vmi.h"

enum { REAL, PERIODIC = 0x100, WIRED_LVTT = 0x10000 };
enum { ID = 0x20, COMMAND_LOW = 0x300, COMMAND_HIGH = 0x310, LVT_TIMER = 0x320, SPURIOUS = 0xf0, TIMER_VECTOR = 0x30 };
/* INIT and SIPI to APIC ID 1 (SDM vol. 3A, 8.4.4.1); the vector's page holds nothing that could run. */
enum { INIT = 0x4500, SIPI = 0x4600 | 0x9f };
enum { CODE = 8, DATA = 0x10, USER_DATA = 0x23, PATIENCE = 100000000 };

/* Linux 2.6.32, arch/x86/include/asm/vmi.h */
struct __attribute__((packed)) ap_state {
  u32 cr0, cr2, cr3, cr4;
  u64 efer;
  u32 eip, eflags, eax, ebx, ecx, edx, esp, ebp, esi, edi;
  u16 cs, ss, ds, es, fs, gs, ldtr;
  u16 gdtr_limit;
  u32 gdtr_base, idtr_base;
  u16 idtr_limit;
};

/* What the second processor finds at its first instruction. */
struct found {
  u32 eax, ebx, ecx, edx, esp, ebp, esi, edi, eflags, cr0, cr4, segments;
  u16 cs, ss, ds, es, fs, gs;
  struct pointer gdtr, idtr;
};
struct found found;
static volatile u32 done;
static u8 stack[4096] __attribute__((aligned(16)));

/* Registers to `found`, then on to second(). Offsets are those of struct found. */
void second_entry(void);
__asm__(
    ".pushsection .text\n"
    "second_entry:\n"
    "  movl %eax, found\n  movl %ebx, found+4\n  movl %ecx, found+8\n  movl %edx, found+12\n"
    "  movl %esp, found+16\n  movl %ebp, found+20\n  movl %esi, found+24\n  movl %edi, found+28\n"
    "  pushfl\n  popl found+32\n"
    "  movl %cr0, %eax\n  movl %eax, found+36\n  movl %cr4, %eax\n  movl %eax, found+40\n"
    "  movw %cs, found+48\n  movw %ss, found+50\n  movw %ds, found+52\n"
    "  movw %es, found+54\n  movw %fs, found+56\n  movw %gs, found+58\n"
    "  sgdtl found+60\n  sidtl found+66\n"
    "  cld\n"
    "  call second\n"
    "1: hlt\n  jmp 1b\n"
    ".popsection\n");

/* Its own alarm, at its own local APIC. Calls are made by one processor at a time: the first waits for `done`. */
__attribute__((used, noreturn)) static void second(void) {
  u32 id = read32(LOCAL_APIC + ID) >> 24;
  write32(LOCAL_APIC + SPURIOUS, 0x1ff);
  write32(LOCAL_APIC + LVT_TIMER, TIMER_VECTOR);
  vmi(SetLazyMode, 1, 0, 0, 0, 0);
  vmi(GetCycleCounter, REAL, 0, 0, 0, 0);
  u64 expiry = RESULT64 + 1000;
  vmi(SetAlarm, REAL | WIRED_LVTT, (u32)expiry, (u32)(expiry >> 32), 0, 0);
  u32 before = apic_interrupts;
  while (apic_interrupts == before) vmi(Halt, 0, 0, 0, 0, 0);
  vmi(DisableInterrupts, 0, 0, 0, 0, 0);
  vmi(SetLazyMode, 0, 0, 0, 0, 0);
  done = id + 1;
  for (;;) __asm__ volatile("hlt");
}

static void command(u32 low) {
  write32(LOCAL_APIC + COMMAND_HIGH, 1u << 24);
  write32(LOCAL_APIC + COMMAND_LOW, low);
}

static int waits_for(volatile u32 *word) {
  for (u32 i = 0; i < PATIENCE && *word == 0; i++) __asm__ volatile("pause");
  return *word != 0;
}

static struct ap_state possible(void) {
  struct ap_state state = {
      .cr0 = 0x23, .cr4 = 0x200, .eip = (u32)second_entry, .eflags = 0x8d5,
      .eax = 1, .ebx = 2, .ecx = 3, .edx = 4, .esp = (u32)(stack + sizeof stack), .ebp = 6, .esi = 7, .edi = 8,
      .cs = CODE, .ss = DATA, .ds = USER_DATA, .es = USER_DATA, .fs = DATA, .gs = 0,
      .gdtr_limit = gdt_pointer.limit, .gdtr_base = gdt_pointer.base,
      .idtr_base = idt_pointer.base, .idtr_limit = idt_pointer.limit,
  };
  return state;
}

static int sets(const struct ap_state *state, u32 id) {
  return vmi(SetInitialAPState, (u32)state, id, 0, 0, 0) == NONE;
}

static void check_found(const struct ap_state *state) {
  check("its general registers are those", found.eax == 1 && found.ebx == 2 && found.ecx == 3 && found.edx == 4);
  check("the others, too", found.ebp == 6 && found.esi == 7 && found.edi == 8);
  check_equal("its stack", found.esp, state->esp);
  check_equal("its flags", found.eflags, state->eflags | 2);
  check_equal("CR0, with ET", found.cr0, state->cr0 | 0x10);
  check_equal("CR4", found.cr4, state->cr4);
  check("its segments", found.cs == CODE && found.ss == DATA && found.ds == USER_DATA && found.es == USER_DATA);
  check("FS and GS", found.fs == DATA && found.gs == 0);
  check("its GDT", found.gdtr.base == gdt_pointer.base && found.gdtr.limit == gdt_pointer.limit);
  check("its IDT", found.idtr.base == idt_pointer.base && found.idtr.limit == idt_pointer.limit);
}

void test_second_processor(void) {
  if (!is_called(SetInitialAPState)) return;
  section("SetInitialAPState, INIT, SIPI");
  struct ap_state state = possible();
  check("of a processor that there is not", sets(&state, 7));
  check("of the one that runs", sets(&state, 0));
  check("of the second", sets(&state, 1));
  struct ap_state wrong = possible();
  wrong.cr0 = 0;
  check("outside of protected mode: the last one counts", sets(&wrong, 1));
  wrong = possible();
  wrong.cs |= 3;
  check("outside of ring 0", sets(&wrong, 1));
  wrong = possible();
  wrong.efer = 0x500;
  check("in 64-bit mode", sets(&wrong, 1));
  check_equal("nothing starts before INIT and SIPI", done, 0);
  command(INIT);
  command(SIPI);
  check("it starts, and its alarm comes to it", waits_for(&done));
  check_equal("by its APIC ID it is the second", done, 2);
  check_found(&state);
  /* INIT, and a state whose GDT does not hold its code: nothing is started. */
  command(INIT);
  done = 0;
  wrong = possible();
  wrong.gdtr_limit = 7;
  check("with a GDT that is too short", sets(&wrong, 1));
  command(SIPI);
  for (u32 i = 0; i < 100000; i++) __asm__ volatile("pause");
  check_equal("nothing comes of it", done, 0);
  command(INIT);
  check("and after INIT with a right one", sets(&state, 1));
  command(SIPI);
  check("it starts again", waits_for(&done));
}
