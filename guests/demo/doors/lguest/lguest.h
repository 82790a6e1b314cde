/* lguest's interface as Linux 2.6.35 to 3.0 had it: asm/lguest_hcall.h, linux/lguest.h, linux/lguest_launcher.h. */
#pragma once
#include "../../core/ops.h"

/* ---- numbers, also for entry.S ---- */

enum lguest_call {
    LHCALL_FLUSH_ASYNC = 0,
    LHCALL_LGUEST_INIT = 1,
    LHCALL_SHUTDOWN = 2,
    LHCALL_NEW_PGTABLE = 4,
    LHCALL_FLUSH_TLB = 5,
    LHCALL_LOAD_IDT_ENTRY = 6,
    LHCALL_SET_CLOCKEVENT = 9,
    LHCALL_HALT = 10,
    LHCALL_SET_PTE = 14,
    LHCALL_NOTIFY = 17,
    LHCALL_SEND_INTERRUPTS = 19,
};
enum { LGUEST_SHUTDOWN_POWEROFF = 1, LGUEST_SHUTDOWN_RESTART = 2 };
enum { LHCALL_RING_SIZE = 64, LHCALL_RING_EMPTY = 0xff, EFLAGS_IF = 0x200, SYSCALL_VECTOR = 0x80 };
enum { FIRST_IRQ_VECTOR = 32, IRQ_CLOCK = 0, LGUEST_IRQS = 32, KERNEL_CS = 0x60 };

/* The page that guest and host share; the host knows it by these places. */
struct lguest_data {
    volatile u32 irq_enabled; /* as EFLAGS.IF */
    volatile u32 blocked_interrupts;
    volatile u32 cr2;
    volatile u32 seconds, nanoseconds;
    volatile u32 irq_pending;
    u8 ring_status[LHCALL_RING_SIZE];
    u32 ring[LHCALL_RING_SIZE][5];
    u32 reserve_mem;
    volatile u32 tsc_khz;
    u32 pgdir;
    const void *noirq_start, *noirq_end;
    u32 kernel_address;
    u32 syscall_vec;
};

extern struct lguest_data lguest_data;

void lguest_call(enum lguest_call call, word a, word b, word c, word d);

/* entry.S: the way back from a trap, with a part in which no interrupt may come. */
extern const char lguest_return[], lguest_iret_start[], lguest_iret_end[];

/* console.c: the first console on the bus of descriptors, above the guest's `pages`. */
void lguest_console_init(word pages);
void lguest_console_write(const char *text, word bytes);
word lguest_console_read(char *text, word bytes);
void lguest_unblock(u32 irq);
void lguest_set_pte(void *page, word frame);
