#include "../../core/print.h"
#include "../../core/trap.h"

void print_registers(const struct trap_frame *frame)
{
    print("  rip %04llx:%016llx  rsp %04llx:%016llx  rflags %llx\n", (u64)frame->cs, (u64)frame->rip, (u64)frame->ss,
          (u64)frame->rsp, (u64)frame->rflags);
    print("  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", (u64)frame->rax, (u64)frame->rbx, (u64)frame->rcx,
          (u64)frame->rdx);
}

void cause_gp(void)
{
    u64 value;

    /* Not canonical: bits 63..47 differ (Intel SDM vol. 1, "Canonical Addressing"). */
    __asm__ volatile("mov (%1), %0" : "=r"(value) : "r"(0x800000000000UL));
}
