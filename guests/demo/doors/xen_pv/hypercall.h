/* Calls through the hypercall page. 64-bit: arguments in RDI RSI RDX R10 R8, result in RAX; the stub's SYSCALL loses
 * RCX and R11, and a debugging hypervisor the argument registers (docs/guest-guide/x86/hypercall-abi.rst). */
#pragma once
#include "abi.h"

extern char hypercall_page[];

/* Returns 0 or more, or minus an error number. */
static inline s64 hypercall4(u64 number, u64 a1, u64 a2, u64 a3, u64 a4)
{
    register u64 r10 __asm__("r10") = a4;
    const void *stub = hypercall_page + number * HYPERCALL_STUB_BYTES;
    s64 result;

    __asm__ volatile("call *%[stub]"
                     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10)
                     : [stub] "0"(stub)
                     : "rcx", "r8", "r11", "memory");
    return result;
}

static inline s64 hypercall3(u64 number, u64 a1, u64 a2, u64 a3)
{
    return hypercall4(number, a1, a2, a3, 0);
}

static inline s64 hypercall2(u64 number, u64 a1, u64 a2)
{
    return hypercall4(number, a1, a2, 0, 0);
}

static inline s64 hypercall1(u64 number, u64 a1)
{
    return hypercall4(number, a1, 0, 0, 0);
}
