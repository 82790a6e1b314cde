/* Widths of 32-bit guests: Xen public/arch-x86/xen-x86_32.h. */
#pragma once

#define KERNEL_CS 0xe019 /* Xen's flat 32-bit code segment; a PV kernel runs at CPL 1 */
/* Stubs for vectors that nothing else uses: the two callbacks that are not exceptions. */
#define VECTOR_EVENT 62
#define VECTOR_FAILSAFE 63

#ifndef __ASSEMBLER__
#include "../../core/types.h"

#define MACHINE_TO_PHYSICAL 0xf5800000
#define PV_TRANSFER "INT 0x82, through the hypercall page"
enum { VCPU_INFO_UNUSED_WORDS = 5, WALL_SECONDS_HIGH_WORDS = 6, WALL_SECONDS_HIGH_AT = 2340 };
enum { COMMAND_LINE_AT = 80, TRAP_ENTRY_BYTES = 8 };

/* xen_callback_t */
struct callback_address {
    word cs;
    void (*entry)(void);
};
#define CALLBACK_ADDRESS(entry) { KERNEL_CS, entry }
#endif
