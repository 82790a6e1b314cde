/* An ops module in guest code: counts how often the kernel writes CR3. Built in two versions, for the tests of changes. */
#include <pvops.h>

#ifndef VERSION
#define VERSION "1.0.0"
#endif
PVOPS_MODULE("count-cr3", VERSION);

/* `vm ops list` shows global variables. */
unsigned long cr3_writes;
#ifdef COUNT_FLUSHES
unsigned long flushes;
#endif

static void (*previous_write_cr3)(unsigned long cr3);

static void write_cr3(unsigned long cr3) {
  cr3_writes++;
  previous_write_cr3(cr3);
}
PVOPS_OP("mmu.write_cr3", write_cr3, &previous_write_cr3);

/* Reading the flags is a slot whose callers keep their registers, and which answers something. */
unsigned long flag_reads;
static unsigned long (*previous_save_fl)(void);

static unsigned long save_fl(void) {
  flag_reads++;
  return previous_save_fl();
}
PVOPS_OP("irq.save_fl", save_fl, &previous_save_fl);

#ifdef COUNT_FLUSHES
static void (*previous_flush)(void);

static void flush(void) {
  flushes++;
  previous_flush();
}
PVOPS_OP("mmu.flush_tlb_user", flush, &previous_flush);
#endif
