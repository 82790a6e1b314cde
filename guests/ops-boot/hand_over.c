/* The calls by which the machine takes a kernel and modules for its operations (docs/ops-modules.md, "A boot loader in the guest"). */
#include "boot.h"

#define DESCRIPTOR_LEAF         0x4000ff00
#define CALLS_LEAF              0x4000ff04
#define CALLS_MAJOR             1
#define CALLS_MINOR             1       /* the first with this call */
#define HAND_OVER               3       /* after the first call */
#define CPUID_FLAG              (1u << 21)

enum what { THE_KERNEL = 1, A_MODULE = 2 };

struct registers {
  uint32_t eax, ebx, ecx, edx;
};

static struct registers cpuid(uint32_t leaf) {
  struct registers is;
  __asm__ volatile("cpuid" : "=a"(is.eax), "=b"(is.ebx), "=c"(is.ecx), "=d"(is.edx) : "a"(leaf), "c"(0));
  return is;
}

/* Whether EFLAGS.ID can be changed (SDM vol. 1, 20.1). */
static int has_cpuid(void) {
  uint32_t before, after;
  __asm__ volatile("pushf; pop %0; mov %0, %1; xor %2, %1; push %1; popf; pushf; pop %1; push %0; popf"
                   : "=&r"(before), "=&r"(after)
                   : "i"(CPUID_FLAG));
  return (before ^ after) & CPUID_FLAG ? 1 : 0;
}

/* The number of the call. 0: there is none here. */
static uint32_t find_call(void) {
  if (!has_cpuid()) return 0;
  struct registers is = cpuid(DESCRIPTOR_LEAF);
  /* "BootDescript" */
  if (is.ebx != 0x746f6f42 || is.ecx != 0x63736544 || is.edx != 0x74706972 || is.eax < CALLS_LEAF) return 0;
  is = cpuid(CALLS_LEAF);
  if (is.eax >> 16 != CALLS_MAJOR || (is.eax & 0xffff) < CALLS_MINOR || is.ecx <= HAND_OVER) return 0;
  return is.ebx + HAND_OVER;
}

/* Negative: the number of the PV code. */
static int32_t give(uint32_t call, struct range what, enum what kind) {
  int32_t answer;
  __asm__ volatile(".byte 0x0f, 0x01, 0xc1" /* VMCALL */
                   : "=a"(answer)
                   : "a"(call), "b"(what.first), "c"(what.end - what.first), "d"(kind)
                   : "memory");
  return answer;
}

static uint32_t ops_count(const struct information *information) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < information->module_count; i++) count += information->modules[i].role == OPS;
  return count;
}

void hand_over(const struct information *information, const struct kernel *kernel) {
  uint32_t call = find_call(), count = ops_count(information), given = 0;
  if (!call) {
    say("no ops calls on this machine: the kernel starts without its ops modules (%u)", count);
    return;
  }
  int32_t answer = give(call, kernel->file, THE_KERNEL);
  if (answer < 0) {
    say("the kernel is not taken (PV%u), and starts without its ops modules (%u)", (uint32_t)-answer, count);
    return;
  }
  for (uint32_t i = 0; i < information->module_count; i++) {
    const struct module *module = &information->modules[i];
    if (module->role != OPS) continue;
    answer = give(call, module->at, A_MODULE);
    if (answer < 0) say("module %u (%s) is not taken (PV%u), and left out", i + 1, module->text, (uint32_t)-answer);
    else given++;
  }
  say("ops modules handed over: %u", given);
}
