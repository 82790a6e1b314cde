/*
 * A driver for Linux on x86-64 that registers operations of its own with the machine: docs/ops-modules.md, "A guest's own
 * table". It is built without the kernel's headers: what of it depends on a kernel, test/guests/kernel-module.ts fills in.
 */
#include <pvops.h>

PVOPS_MODULE("ops-driver", "1.0.0");

enum { FIRST_LEAF = 0x4000ff00, OPS_LEAF = 0x4000ff04, REGISTER = 0, UNREGISTER = 1 };
enum { COM1 = 0x3f8 };

static unsigned long cr3_writes, flag_reads;
static void (*previous_write_cr3)(unsigned long cr3);
static unsigned long (*previous_save_fl)(void);

static void put(char c) { __asm__ volatile("outb %%al, %%dx" : : "a"(c), "d"(COM1)); }
static void put_number(unsigned long value) {
  if (value >= 10) put_number(value / 10);
  put('0' + value % 10);
}
static void print(const char *text) {
  while (*text) put(*text++);
}

static void write_cr3(unsigned long cr3) {
  cr3_writes++;
  previous_write_cr3(cr3);
}

/* Its callers keep their registers. */
static unsigned long save_fl(void) {
  flag_reads++;
  return previous_save_fl();
}

static const struct pvops_entry table[] = {
    {"mmu.write_cr3", (const void *)write_cr3, (void *)&previous_write_cr3, {0, 0}},
    {"irq.save_fl", (const void *)save_fl, (void *)&previous_save_fl, {0, 0}},
};


static unsigned int cpuid(unsigned int leaf, unsigned int *ebx) {
  unsigned int eax = leaf, ecx = 0, edx;
  __asm__ volatile("cpuid" : "+a"(eax), "=b"(*ebx), "+c"(ecx), "=d"(edx));
  return eax;
}

/* 0: there are no such calls. */
static unsigned int first_call(void) {
  unsigned int ebx;
  unsigned int last = cpuid(FIRST_LEAF, &ebx);
  if (last < OPS_LEAF || last > FIRST_LEAF + 0xff) return 0;
  cpuid(OPS_LEAF, &ebx);
  return ebx;
}

static long call(unsigned long number, const void *text, unsigned long size, const void *entries, unsigned long count) {
  long answer = number;
  __asm__ volatile("vmcall" : "+a"(answer) : "b"(text), "c"(size), "d"(entries), "S"(count) : "memory");
  return answer;
}

static const char name[] = "ops-driver";
enum { NO_DEVICE = -19 };

int init_module(void) {
  unsigned int first = first_call();
  if (!first) return NO_DEVICE;
  long answer = call(first + REGISTER, pvops_manifest, sizeof pvops_manifest - 1, table, sizeof table / sizeof *table);
  print(answer == 1 ? "ops-driver: registered\n" : "ops-driver: refused\n");
  return answer == 1 ? 0 : NO_DEVICE;
}

void cleanup_module(void) {
  call(first_call() + UNREGISTER, name, sizeof name - 1, 0, 0);
  print("ops-driver: ");
  put_number(cr3_writes);
  print(" writes of CR3, ");
  put_number(flag_reads);
  print(" reads of the flags\n");
}

/* What Linux wants of a module: struct module, of which the kernel's types say how large it is and where these two stand. */
struct {
  const void *init, *exit;
} __attribute__((packed)) this_module __attribute__((section(".gnu.linkonce.this_module"))) = {
    (const void *)init_module,
    (const void *)cleanup_module,
};
static const char modinfo[] __attribute__((used, section(".modinfo"))) = "name=ops_driver\0license=Dual MIT/GPL";
