#pragma once
#include "../../core/types.h"

/* The last five are what the CPU (or hypervisor) pushed. */
struct trap_frame {
    word r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    word vector, error_code;
    word rip, cs, rflags, rsp, ss;
};

static inline void set_instruction_pointer(struct trap_frame *frame, word address)
{
    frame->rip = address;
}
