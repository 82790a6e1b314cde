/*
 * An ops module in guest code for a 32-bit Linux kernel without PARAVIRT_XXL, whose types are not known: slots are named
 * after what they hold. Counts flushes of single pages, and spin locks that are released, whose callers keep their registers.
 */
#include <pvops.h>

PVOPS_MODULE("count-flushes", "1.0.0");

/* `vm ops list` shows global variables. */
unsigned long flushes;
unsigned long unlocks;
unsigned long last_page;

static void (*previous_flush)(unsigned long address);

static void flush(unsigned long address) {
  flushes++;
  last_page = address;
  previous_flush(address);
}
PVOPS_OP("flush_tlb_one_user", flush, &previous_flush);

static void (*previous_unlock)(void *lock);

static void unlock(void *lock) {
  unlocks++;
  previous_unlock(lock);
}
PVOPS_OP("queued_spin_unlock", unlock, &previous_unlock);
