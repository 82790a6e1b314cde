/* A guest that activates VMI as a kernel does, and makes every call of the ABI with right and wrong arguments. */
#ifndef VMI_H
#define VMI_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* Calls by number (Linux 2.6.32, arch/x86/include/asm/vmi.h and vmi_time.h). */
enum call {
  CPUID, WRMSR, RDMSR, SetGDT, SetLDT, SetIDT, SetTR, GetGDT, GetLDT, GetIDT, GetTR, WriteGDTEntry, WriteLDTEntry,
  WriteIDTEntry, UpdateKernelStack, SetCR0, SetCR2, SetCR3, SetCR4, GetCR0, GetCR2, GetCR3, GetCR4, WBINVD, SetDR,
  GetDR, RDPMC, RDTSC, CLTS, EnableInterrupts, DisableInterrupts, GetInterruptMask, SetInterruptMask, IRET, SYSEXIT,
  Halt, Reboot, Shutdown, SetPxE, SetPxELong, UpdatePxE, UpdatePxELong, MachineToPhysical, PhysicalToMachine,
  AllocatePage, ReleasePage, InvalPage, FlushTLB, SetLinearMapping,
  SetIOPLMask = 61, SetInitialAPState, APICWrite, APICRead, IODelay, GetCycleFrequency, GetCycleCounter, SetAlarm,
  CancelAlarm, GetWallclockTime, WallclockUpdated, SetLazyMode = 73, CALLS
};

enum relocation { KEEP_NATIVE, CALL_REL, JUMP_REL, NOP };

/* Exceptions that calls end in; NONE: they return. */
enum { NONE = -1, UD = 6, GP = 13, PF = 14 };

/* Offsets are known to traps.S. */
struct invocation {
  u32 target;
  u32 eax, edx, ecx;
  u32 stack[2];
  u32 ebx;
};

/* Go there, and keep the results. Answers the exception that it ended in, or NONE. */
int invoke(struct invocation *invocation);
/* Make a call where the ROM says, or as a kernel does it natively. Answers the exception that it ended in, or NONE. */
int vmi(enum call call, u32 eax, u32 edx, u32 ecx, u32 stack0, u32 stack1);
/* Results of the last call. */
extern struct invocation last;
#define RESULT (last.eax)
#define RESULT64 ((u64)last.edx << 32 | last.eax)
/* Whether the ROM has code for it. */
int is_called(enum call call);
/* Whether there is any way to make it. */
int is_there(enum call call);

int find_rom(void);
int activate_rom(void);
void patch_sites(void);

void check(const char *what, int holds);
void check_equal(const char *what, u32 got, u32 expected);
void section(const char *name);
extern u32 checks, failures;

void print(const char *text);
void print_hex(u32 value);
void print_decimal(u32 value);

void machine_start(void);
__attribute__((noreturn)) void power_off(void);
void unmask_timer(void);
void mask_timer(void);
extern volatile u32 timer_interrupts, apic_interrupts;
#define LOCAL_APIC 0xfee00000

struct __attribute__((packed)) pointer {
  u16 limit;
  u32 base;
};
extern u64 gdt[];
extern struct pointer gdt_pointer;
extern u64 idt[];
extern struct pointer idt_pointer;
extern u32 tss[];
void set_gate(u32 vector, u32 address, u32 dpl);

void test_cpu(void);
void test_descriptors(void);
void test_switches(void);
void test_memory(void);
void test_pae(void);
/* `local`: alarms can be wired to the local APIC, too. */
void test_timers(int local);
/* On a machine with two processors. */
void test_second_processor(void);

static inline void outb(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 inb(u16 port) {
  u8 value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline u32 read32(u32 address) { return *(volatile u32 *)address; }
static inline void write32(u32 address, u32 value) { *(volatile u32 *)address = value; }

#endif
