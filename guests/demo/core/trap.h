/* Exceptions, as every door hands them to the core. */
#pragma once
#include "types.h"

/* The order in which a door's entry code pushes; the last five are what the CPU (or hypervisor) pushed. */
struct trap_frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error_code;
    u64 rip, cs, rflags, rsp, ss;
};

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
