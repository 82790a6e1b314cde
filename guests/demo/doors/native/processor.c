/* Interrupts, exceptions and page tables as the processor has them (Intel SDM vol. 3A). */
#include "../../core/trap.h"
#include "native.h"
#include "stubs.h"

enum { CODE_SELECTOR = 8 };

static u64 idt[TRAP_STUBS];

/* A 32-bit interrupt gate of level 0 (figure 6-2). */
static u64 gate(word address)
{
    return (u64)(address & 0xffff0000) << 32 | 0x8e00ULL << 32 | CODE_SELECTOR << 16 | (address & 0xffff);
}

void native_processor_init(void (*handler)(struct trap_frame *frame))
{
    struct __attribute__((packed)) {
        u16 limit;
        const void *base;
    } pointer = { sizeof idt - 1, idt };

    trap_handler = handler;
    trap_return = return_by_iret;
    for (word vector = 0; vector < TRAP_STUBS; vector++)
        idt[vector] = gate((word)trap_stub(vector));
    __asm__ volatile("lidt %0" :: "m"(pointer));
    page_directory_pointers[0] = 0;
    native_flush_tlb();
}

word native_root_frame(void)
{
    return physical(page_directory_pointers) / PAGE_BYTES;
}

u64 read_cr2(void)
{
    word value;

    __asm__ volatile("mov %%cr2, %0" : "=r"(value));
    return value;
}

/* ---- ops ---- */

void native_irq_enable(void)
{
    __asm__ volatile("sti" ::: "memory");
}

void native_irq_disable(void)
{
    __asm__ volatile("cli" ::: "memory");
}

void native_halt(void)
{
    __asm__ volatile("sti; hlt" ::: "memory"); /* no interrupt comes between the two */
}

void native_write_cr3(word root_frame)
{
    __asm__ volatile("mov %0, %%cr3" :: "r"(root_frame * PAGE_BYTES) : "memory");
}

void native_flush_tlb(void)
{
    native_write_cr3(native_root_frame());
}

void native_set_pte(void *page, word frame)
{
    *entry_of(page) = entry_for(frame);
    __asm__ volatile("invlpg (%0)" :: "r"(page) : "memory");
}
