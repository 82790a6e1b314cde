/*
 * The demo guest's pv_ops: everything the monitor cannot do with ordinary instructions, one named slot each.
 *
 * A door (doors/NAME) is one way of being started. It fills the table before it calls demo_main(); the core only
 * ever calls through it. The table is the symbol `pv_ops`, slots in the order below, each as wide as an address, so a
 * hypervisor that knows its guest can read it or put other functions in it while the guest runs.
 */
#pragma once
#include "types.h"

enum shutdown_reason { SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_CRASH };

/* OP(result, slot, arguments, what it does) */
#define PV_OPS(OP) \
    OP(void, irq_enable, (void), "let interrupts in") \
    OP(void, irq_disable, (void), "keep interrupts out") \
    OP(void, halt, (void), "let interrupts in and sleep until one came") \
    OP(void, write_cr3, (word root_frame), "change to the page tables rooted in a frame") \
    OP(void, flush_tlb, (void), "forget every cached translation") \
    OP(void, set_pte, (void *page, word frame), "map a page of the image, writable, to a frame") \
    OP(void, console_write, (const char *text, word bytes), "print; returns when all is taken") \
    OP(word, console_read, (char *text, word bytes), "what was typed, possibly nothing; returns its bytes") \
    OP(u64, clock_ns, (void), "nanoseconds since some moment before boot") \
    OP(u64, wall_clock_s, (void), "seconds since 1970, UTC") \
    OP(void, set_timer, (u64 deadline_ns), "interrupt once, when clock_ns() reaches this") \
    OP(void, null_call, (void), "the cheapest visit to the hypervisor") \
    OP(void, shutdown, (enum shutdown_reason reason), "leave for good")

struct pv_ops {
#define OP(result, slot, arguments, what) result(*slot) arguments;
    PV_OPS(OP)
#undef OP
};

extern struct pv_ops pv_ops;

/* A door names its functions DOOR_SLOT; with PV_OPS() this declares them all. */
#define DECLARE_DOOR_OP(door, result, slot, arguments) result door##_##slot arguments;

struct memory_region {
    const char *what;
    const void *start;
    word bytes;
};

/* What a door found out before it called demo_main(). Frames count pages of guest-physical memory from 0. */
struct boot_info {
    const char *door;             /* name of the folder in doors/, and prefix of its functions */
    const char *hypervisor;       /* who started us, in a few words */
    const char *transfer;         /* how the door calls it */
    const char *command_line;
    const struct pv_ops *door_ops; /* what the door filled the table with, to tell a later replacement */
    word memory_pages;
    word root_frame;
    const struct memory_region *regions;
    word region_count;
};

/* Core functions that doors call. */
void demo_main(const struct boot_info *boot) __attribute__((noreturn));
void timer_fired(void);
