/* Calls through the hypercall page. 64-bit: arguments in RDI RSI RDX R10 R8, result in RAX; the stub's SYSCALL loses
 * RCX and R11. 32-bit: EBX ECX EDX ESI EDI, EAX. A debugging hypervisor loses the argument registers, too
 * (docs/guest-guide/x86/hypercall-abi.rst). */
#pragma once
#include "abi.h"

extern char hypercall_page[];
typedef long hypercall_result;

/* Returns 0 or more, or minus an error number. */
#ifdef __x86_64__
static inline hypercall_result hypercall4(word number, word a1, word a2, word a3, word a4)
{
    register word r10 __asm__("r10") = a4;
    const void *stub = hypercall_page + number * HYPERCALL_STUB_BYTES;
    hypercall_result result;

    __asm__ volatile("call *%[stub]"
                     : "=a"(result), "+D"(a1), "+S"(a2), "+d"(a3), "+r"(r10)
                     : [stub] "0"(stub)
                     : "rcx", "r8", "r11", "memory");
    return result;
}
#else
static inline hypercall_result hypercall4(word number, word a1, word a2, word a3, word a4)
{
    const void *stub = hypercall_page + number * HYPERCALL_STUB_BYTES;
    hypercall_result result;

    __asm__ volatile("call *%[stub]"
                     : "=a"(result), "+b"(a1), "+c"(a2), "+d"(a3), "+S"(a4)
                     : [stub] "0"(stub)
                     : "edi", "memory");
    return result;
}
#endif

static inline hypercall_result hypercall3(word number, word a1, word a2, word a3)
{
    return hypercall4(number, a1, a2, a3, 0);
}

static inline hypercall_result hypercall2(word number, word a1, word a2)
{
    return hypercall4(number, a1, a2, 0, 0);
}

static inline hypercall_result hypercall1(word number, word a1)
{
    return hypercall4(number, a1, 0, 0, 0);
}

/* A 64-bit argument takes two registers of 32 bits. */
static inline void update_va_mapping(word address, u64 entry, word flags)
{
    if (sizeof(word) == sizeof(u64))
        hypercall3(HYPERCALL_UPDATE_VA_MAPPING, address, (word)entry, flags);
    else
        hypercall4(HYPERCALL_UPDATE_VA_MAPPING, address, (word)entry, (word)(entry >> 32), flags);
}
