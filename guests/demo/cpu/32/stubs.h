/* The trap entries of trap_stubs.S. */
#pragma once

#define TRAP_STUBS 64
#define TRAP_STUB_BYTES 16

#ifndef __ASSEMBLER__
#include "frame.h"

extern const char trap_stubs[];
void return_by_iret(void);

/* Set by the door before the first trap. */
extern void (*trap_handler)(struct trap_frame *frame);
extern const void *trap_return;

static inline const void *trap_stub(word vector)
{
    return trap_stubs + vector * TRAP_STUB_BYTES;
}
#endif
