/* Exceptions, as every door hands them to the core. */
#pragma once
#include "types.h"

/* cpu/64 or cpu/32: the order in which a door's entry code pushes, and what depends on it. */
#include <frame.h>

void print_registers(const struct trap_frame *frame);
/* An access that is #GP, with nothing else to it. */
void cause_gp(void);

enum {
    VECTOR_DE = 0,
    VECTOR_UD = 6,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    EXCEPTION_VECTORS = 32,
};

/*
 * Called by doors with interrupts as they were. Reports the exception; if it happened inside catch_trap() it sends
 * the frame there, else it shuts the guest down as crashed. `fault_address` is CR2, meaningful for #PF only.
 */
void handle_trap(struct trap_frame *frame, u64 fault_address);

/* Calls `function`; returns true if an exception ended it early. */
bool catch_trap(void (*function)(void));
