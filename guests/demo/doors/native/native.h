/* The door native: a PC, with nobody between us and its processor. Other doors on page tables of their own share parts. */
#pragma once
#include "../../core/ops.h"
#include "frame.h"
#include "tables.h"

#define OP(result, slot, arguments, what) DECLARE_DOOR_OP(native, result, slot, arguments)
PV_OPS(OP)
#undef OP

enum { FIRST_IRQ_VECTOR = 32, IRQ_TIMER = 0, IRQ_COM1 = 4 };

/* processor.c: the mapping at 0 is dropped; traps go to `handler`, which sees vectors from FIRST_IRQ_VECTOR on, too. */
void native_processor_init(void (*handler)(struct trap_frame *frame));
word native_root_frame(void);
u64 read_cr2(void);

/* pic.c */
void native_pic_init(void);
void native_end_of_interrupt(void);

/* clock.c, console.c */
void native_clock_init(void);
void native_timer_interrupt(void);
void native_console_init(void);

static inline void write_port8(u16 port, u8 value)
{
    __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port));
}

static inline void write_port16(u16 port, u16 value)
{
    __asm__ volatile("outw %0, %1" :: "a"(value), "Nd"(port));
}

static inline u8 read_port8(u16 port)
{
    u8 value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}
