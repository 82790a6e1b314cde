/* Widths of 64-bit guests: Xen public/arch-x86/xen-x86_64.h. */
#pragma once

#define KERNEL_CS 0xe033 /* Xen's flat 64-bit code segment; a PV kernel runs at CPL 3 */
/* Vectors of our own for the two callbacks that are not exceptions. */
#define VECTOR_EVENT 256
#define VECTOR_FAILSAFE 257

#ifndef __ASSEMBLER__
#include "../../core/types.h"

#define MACHINE_TO_PHYSICAL 0xffff800000000000
#define PV_TRANSFER "SYSCALL, through the hypercall page"
enum { VCPU_INFO_UNUSED_WORDS = 1, WALL_SECONDS_HIGH_WORDS = 0, WALL_SECONDS_HIGH_AT = 3084 };
enum { COMMAND_LINE_AT = 128, TRAP_ENTRY_BYTES = 16 };

/* xen_callback_t */
struct callback_address {
    void (*entry)(void);
};
#define CALLBACK_ADDRESS(entry) { entry }
#endif
