/* What a kernel does with a VMI ROM: find it, ask it for each operation, patch itself. */
#include "vmi.h"

/* Offsets in the header (Linux 2.6.32, arch/x86/include/asm/vmi.h). */
enum { LENGTH = 2, VMI_SIGNATURE = 8, API_MINOR = 12, API_MAJOR = 13, VIRTUAL_TOP = 16, LICENCE = 22, PCI = 24, PNP = 26 };
enum { INIT = 0x80, GET_RELOCATION_INFO = 0x88 };

static u32 rom;
static u32 targets[CALLS];
static u8 types[CALLS];
struct invocation last;

static u32 field8(u32 offset) { return *(const u8 *)(rom + offset); }
static u32 field16(u32 offset) { return field8(offset) | field8(offset + 1) << 8; }
static u32 field32(u32 offset) { return field16(offset) | field16(offset + 2) << 16; }

static int equal(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

static int refused(const char *why) {
  print("ROM at ");
  print_hex(rom);
  print(" refused: ");
  print(why);
  print("\n");
  return 0;
}

static void introduce(void) {
  u32 pnp = field16(PNP), pci = field16(PCI);
  print("found ");
  print((const char *)(rom + field16(pnp + 14)));
  print(" ");
  print((const char *)(rom + field16(pnp + 16)));
  print(", API ");
  print_decimal(field8(API_MAJOR));
  print(".");
  print_decimal(field8(API_MINOR));
  print(", ROM version ");
  print_decimal(field8(pci + 19));
  print(".");
  print_decimal(field8(pci + 18));
  print(", address space ends at ");
  print_hex(field32(VIRTUAL_TOP) - 1);
  print("\n");
}

static int is_acceptable(void) {
  u8 sum = 0;
  for (u32 i = 0; i < field8(LENGTH) * 512; i++) sum += (u8)field8(i);
  if (sum != 0) return refused("its checksum is wrong");
  if (field8(API_MAJOR) != 3) return refused("its API is not 3.x");
  if (field16(PCI) == 0) return refused("it has no PCI data structure");
  const char *licence = field16(LICENCE) ? (const char *)(rom + field16(LICENCE)) : "";
  if (!equal(licence, "GPL") && !equal(licence, "GPL v2")) return refused("its licence is not the GPL");
  return 1;
}

int find_rom(void) {
  for (rom = 0xc0000; rom < 0xe0000; rom += 2048) {
    if (field16(0) != 0xaa55 || field32(VMI_SIGNATURE) != 0x696d5663) continue;
    if (!is_acceptable()) continue;
    introduce();
    return 1;
  }
  return 0;
}

static u64 relocation(u32 call) {
  struct invocation asked = {.target = rom + GET_RELOCATION_INFO, .eax = call};
  check("GetRelocationInfo returns", invoke(&asked) == NONE);
  return (u64)asked.edx << 32 | asked.eax;
}

#define NATIVE(call) extern const u8 native_##call[];
NATIVE(CPUID) NATIVE(WRMSR) NATIVE(RDMSR) NATIVE(SetGDT) NATIVE(SetLDT) NATIVE(SetIDT) NATIVE(SetTR) NATIVE(GetGDT)
NATIVE(GetLDT) NATIVE(GetIDT) NATIVE(GetTR) NATIVE(SetCR0) NATIVE(SetCR2) NATIVE(SetCR3) NATIVE(SetCR4) NATIVE(GetCR0)
NATIVE(GetCR2) NATIVE(GetCR3) NATIVE(GetCR4) NATIVE(WBINVD) NATIVE(RDPMC) NATIVE(RDTSC) NATIVE(CLTS)
NATIVE(EnableInterrupts) NATIVE(DisableInterrupts) NATIVE(InvalPage) NATIVE(nothing) NATIVE(GetInterruptMask)
NATIVE(SetInterruptMask) NATIVE(Halt) NATIVE(WriteEntry) NATIVE(FlushTLB) NATIVE(SetDR) NATIVE(GetDR) NATIVE(SetPxE)
NATIVE(SetPxELong) NATIVE(UpdateKernelStack) NATIVE(SetIOPLMask)

#define AS(call) [call] = native_##call
static const u8 *const natives[CALLS] = {
  AS(CPUID), AS(WRMSR), AS(RDMSR), AS(SetGDT), AS(SetLDT), AS(SetIDT), AS(SetTR), AS(GetGDT), AS(GetLDT), AS(GetIDT),
  AS(GetTR), AS(SetCR0), AS(SetCR2), AS(SetCR3), AS(SetCR4), AS(GetCR0), AS(GetCR2), AS(GetCR3), AS(GetCR4), AS(WBINVD),
  AS(RDPMC), AS(RDTSC), AS(CLTS), AS(EnableInterrupts), AS(DisableInterrupts), AS(InvalPage), AS(GetInterruptMask),
  AS(SetInterruptMask), AS(Halt), AS(FlushTLB), AS(SetDR), AS(GetDR), AS(SetPxE), AS(SetPxELong), AS(UpdateKernelStack),
  AS(SetIOPLMask),
  [WriteGDTEntry] = native_WriteEntry, [WriteLDTEntry] = native_WriteEntry, [WriteIDTEntry] = native_WriteEntry,
  [UpdatePxE] = native_nothing, [UpdatePxELong] = native_nothing, [IODelay] = native_nothing,
};

/* One letter a call: native, call, jump, no operation; an unknown answer is a question mark. */
static void ask_for_all(void) {
  print("calls ");
  for (u32 call = 0; call < CALLS; call++) {
    u64 answer = relocation(call);
    types[call] = (u8)(answer >> 32);
    targets[call] = types[call] == CALL_REL || types[call] == JUMP_REL ? (u32)answer : (u32)natives[call];
    if (types[call] == NOP) targets[call] = (u32)native_nothing;
    char letter[2] = {types[call] <= NOP ? "ncj-"[types[call]] : '?', 0};
    print(letter);
  }
  print("\n");
  check("a call that there is not keeps native code", relocation(CALLS) >> 32 == KEEP_NATIVE);
  check("so does one far beyond", relocation(0xffffffff) >> 32 == KEEP_NATIVE);
  check("and the numbers between", (relocation(49) | relocation(60) | relocation(72)) == 0);
}

int activate_rom(void) {
  struct invocation init = {.target = rom + INIT};
  if (invoke(&init) != NONE || init.eax != 0) return refused("VMI_Init failed");
  ask_for_all();
  return 1;
}

static void patch(enum call call, u8 *site) {
  if (types[call] == NOP) {
    for (u32 i = 0; i < 5; i++) site[i] = 0x90;
  } else if (types[call] != KEEP_NATIVE) {
    site[0] = types[call] == JUMP_REL ? 0xe9 : 0xe8;
    *(volatile u32 *)(site + 1) = targets[call] - (u32)(site + 5);
  }
}

#define SITE(call) { extern u8 site_##call[]; patch(call, site_##call); }
void patch_sites(void) {
  SITE(DisableInterrupts)
  SITE(EnableInterrupts)
  SITE(GetInterruptMask)
  SITE(SetInterruptMask)
  SITE(IRET)
  SITE(SYSEXIT)
}

int is_called(enum call call) { return types[call] == CALL_REL; }
int is_there(enum call call) { return targets[call] != 0; }

int vmi(enum call call, u32 eax, u32 edx, u32 ecx, u32 stack0, u32 stack1) {
  last = (struct invocation){targets[call], eax, edx, ecx, {stack0, stack1}, 0};
  return invoke(&last);
}
