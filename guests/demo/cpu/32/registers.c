#include "../../core/print.h"
#include "../../core/trap.h"

void print_registers(const struct trap_frame *frame)
{
    /* ESP was where the frame ends. */
    print("  eip %04llx:%08llx  esp %08llx  eflags %llx\n", (u64)frame->cs & 0xffff, (u64)frame->eip,
          address_of(frame + 1), (u64)frame->eflags);
    print("  eax %08llx  ebx %08llx  ecx %08llx  edx %08llx\n", (u64)frame->eax, (u64)frame->ebx, (u64)frame->ecx,
          (u64)frame->edx);
}

void cause_gp(void)
{
    /* A selector beyond the end of any descriptor table here (Intel SDM vol. 2B, MOV). */
    __asm__ volatile("mov %0, %%gs" :: "r"(0xfff8));
}
