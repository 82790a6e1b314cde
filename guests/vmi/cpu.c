/* CPUID, MSRs, control and debug registers, time-stamp and performance counters, the interrupt flag, IOPL, the APIC. */
#include "vmi.h"

enum { IF = 0x200, IOPL = 0x3000 };
enum { CR0_TS = 8, CR0_AM = 1 << 18, CR4_TSD = 4, CR4_PGE = 0x80 };
enum { SYSENTER_CS = 0x174, NO_MSR = 0xdead };

extern const u8 native_RDPMC[];
extern u32 patched_save(void);
extern void patched_cli(void), patched_sti(void), patched_restore(u32 flags);

static void test_identification(void) {
  section("CPUID, WRMSR, RDMSR, RDPMC, RDTSC");
  u32 a = 0, b, c, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
  check("CPUID returns", vmi(CPUID, 0, 0, 0, 0, 0) == NONE);
  check("CPUID answers as the processor", last.eax == a && last.ebx == b && last.ecx == c && last.edx == d);
  check("WRMSR returns", vmi(WRMSR, 8, 0, SYSENTER_CS, 0, 0) == NONE);
  check("RDMSR returns", vmi(RDMSR, 0xbad, 0xbad, SYSENTER_CS, 0, 0) == NONE);
  check_equal("RDMSR reads what WRMSR wrote", RESULT, 8);
  check("WRMSR of no MSR", vmi(WRMSR, 0, 0, NO_MSR, 0, 0) == GP);
  check("RDMSR of no MSR", vmi(RDMSR, 0, 0, NO_MSR, 0, 0) == GP);
  struct invocation rdpmc = {.target = (u32)native_RDPMC, .ecx = 0x12345};
  int vector = invoke(&rdpmc);
  check("RDPMC ends as the processor's", vmi(RDPMC, 0, 0, 0x12345, 0, 0) == vector);
  check("with its result", vector != NONE || (last.eax == rdpmc.eax && last.edx == rdpmc.edx));
  vmi(RDTSC, 0, 0, 0, 0, 0);
  u64 first = RESULT64;
  vmi(RDTSC, 0, 0, 0, 0, 0);
  check("RDTSC goes on", RESULT64 > first);
}

static void test_control_registers(void) {
  section("CR0, CR2, CR3, CR4, CLTS, WBINVD");
  check("GetCR0 returns", vmi(GetCR0, 0, 0, 0, 0, 0) == NONE);
  u32 cr0 = RESULT;
  check("SetCR0 returns", vmi(SetCR0, cr0 | CR0_AM | CR0_TS, 0, 0, 0, 0) == NONE);
  vmi(GetCR0, 0, 0, 0, 0, 0);
  check_equal("CR0 holds what was set", RESULT, cr0 | CR0_AM | CR0_TS);
  check("CLTS returns", vmi(CLTS, 0, 0, 0, 0, 0) == NONE);
  vmi(GetCR0, 0, 0, 0, 0, 0);
  check_equal("CLTS clears TS", RESULT & CR0_TS, 0);
  check("CR0.PG without CR0.PE", vmi(SetCR0, 0x80000000, 0, 0, 0, 0) == GP);
  vmi(SetCR0, cr0, 0, 0, 0, 0);
  check("SetCR2 returns", vmi(SetCR2, 0x12345678, 0, 0, 0, 0) == NONE);
  vmi(GetCR2, 0, 0, 0, 0, 0);
  check_equal("CR2 holds what was set", RESULT, 0x12345678);
  check("SetCR3 returns", vmi(SetCR3, 0x7000, 0, 0, 0, 0) == NONE);
  vmi(GetCR3, 0, 0, 0, 0, 0);
  check_equal("CR3 holds what was set", RESULT, 0x7000);
  vmi(GetCR4, 0, 0, 0, 0, 0);
  u32 cr4 = RESULT;
  check("SetCR4 returns", vmi(SetCR4, cr4 | CR4_TSD | CR4_PGE, 0, 0, 0, 0) == NONE);
  vmi(GetCR4, 0, 0, 0, 0, 0);
  check_equal("CR4 holds what was set", RESULT, cr4 | CR4_TSD | CR4_PGE);
  check("a reserved bit of CR4", vmi(SetCR4, 0x80000000, 0, 0, 0, 0) == GP);
  vmi(SetCR4, cr4, 0, 0, 0, 0);
  check("WBINVD returns", vmi(WBINVD, 0, 0, 0, 0, 0) == NONE);
}

static void test_debug_registers(void) {
  section("SetDR, GetDR");
  for (u32 n = 0; n < 4; n++) {
    check("SetDR returns", vmi(SetDR, n, 0x1000 * n + 0x123, 0, 0, 0) == NONE);
  }
  for (u32 n = 0; n < 4; n++) {
    check("GetDR returns", vmi(GetDR, n, 0, 0, 0, 0) == NONE);
    check_equal("a debug register holds what was set", RESULT, 0x1000 * n + 0x123);
  }
  vmi(SetDR, 7, 0x500, 0, 0, 0);
  vmi(GetDR, 7, 0, 0, 0, 0);
  check_equal("DR7 holds what was set", RESULT, 0x500);
  vmi(SetDR, 6, 0, 0, 0, 0);
  vmi(GetDR, 6, 0, 0, 0, 0);
  check_equal("DR6 has its fixed bits", RESULT, 0xffff0ff0);
  check("SetDR of no register", vmi(SetDR, 8, 0, 0, 0, 0) == UD);
  check("GetDR of no register", vmi(GetDR, 0x100, 0, 0, 0, 0) == UD);
  vmi(SetDR, 7, 0x400, 0, 0, 0);
}

static u32 flags(void) {
  vmi(GetInterruptMask, 0, 0, 0, 0, 0);
  return RESULT;
}

static void test_interrupt_flag(void) {
  section("EnableInterrupts, DisableInterrupts, GetInterruptMask, SetInterruptMask; sites");
  check("EnableInterrupts returns", vmi(EnableInterrupts, 0, 0, 0, 0, 0) == NONE);
  check_equal("IF is set", flags() & IF, IF);
  check("DisableInterrupts returns", vmi(DisableInterrupts, 0, 0, 0, 0, 0) == NONE);
  check_equal("IF is clear", flags() & IF, 0);
  check("SetInterruptMask returns", vmi(SetInterruptMask, IF | 2, 0, 0, 0, 0) == NONE);
  check_equal("IF is what was set", flags() & IF, IF);
  vmi(SetInterruptMask, 0, 0, 0, 0, 0);
  check_equal("and clear again", flags() & IF, 0);
  patched_sti();
  check_equal("patched: IF is set", patched_save() & IF, IF);
  patched_cli();
  check_equal("patched: IF is clear", patched_save() & IF, 0);
  patched_restore(IF | 2);
  check_equal("patched: IF is what was set", patched_save() & IF, IF);
  patched_cli();
}

static void test_iopl(void) {
  section("SetIOPLMask, IODelay");
  u32 value;
  check("SetIOPLMask returns", vmi(SetIOPLMask, IOPL, 0, 0, 0, 0) == NONE);
  __asm__ volatile("pushfl; popl %0" : "=r"(value));
  check_equal("IOPL is 3", value & IOPL, IOPL);
  if (is_called(SetIOPLMask)) check("more than IOPL returns", vmi(SetIOPLMask, IF, 0, 0, 0, 0) == NONE);
  __asm__ volatile("pushfl; popl %0" : "=r"(value));
  check_equal("and changes nothing", value & (IOPL | IF), IOPL);
  vmi(SetIOPLMask, 0, 0, 0, 0, 0);
  check("IODelay returns", vmi(IODelay, 0, 0, 0, 0, 0) == NONE);
}

static void test_apic(void) {
  enum { VERSION = 0x30, PRIORITY = 0x80 };
  if (!is_called(APICRead)) return;
  section("APICRead, APICWrite");
  check("APICRead returns", vmi(APICRead, VERSION, 0, 0, 0, 0) == NONE);
  check_equal("the version by its offset", RESULT, read32(LOCAL_APIC + VERSION));
  vmi(APICRead, LOCAL_APIC + VERSION, 0, 0, 0, 0);
  check_equal("and by its address", RESULT, read32(LOCAL_APIC + VERSION));
  check("APICWrite returns", vmi(APICWrite, PRIORITY, 0x20, 0, 0, 0) == NONE);
  check_equal("a register that was written", read32(LOCAL_APIC + PRIORITY), 0x20);
  vmi(APICWrite, PRIORITY, 0, 0, 0, 0);
  check("APICRead of an address elsewhere", vmi(APICRead, 0x100000, 0, 0, 0, 0) == NONE);
  check_equal("answers 0", RESULT, 0);
  check("APICWrite across registers returns", vmi(APICWrite, PRIORITY + 1, 0xff, 0, 0, 0) == NONE);
  check_equal("and writes nothing", read32(LOCAL_APIC + PRIORITY), 0);
}

static void test_processors(void) {
  static u32 state[23];
  if (!is_called(SetInitialAPState)) return;
  section("SetInitialAPState");
  check("of a processor that there is not", vmi(SetInitialAPState, (u32)state, 1, 0, 0, 0) == NONE);
  check("of the one that runs", vmi(SetInitialAPState, (u32)state, 0, 0, 0, 0) == NONE);
}

void test_cpu(void) {
  test_identification();
  test_control_registers();
  test_debug_registers();
  test_interrupt_flag();
  test_iopl();
  test_apic();
  test_processors();
}
