/*
 * Everything of the xen_pv door that has to be assembly, for 32-bit domains.
 *
 * Sources: Xen public/arch-x86/xen.h ("start of day"), public/arch-x86/xen-x86_32.h (frames, iret).
 */
#include "../../xen/abi.h"
#include "layout.h"
#include "stubs.h"

/* ---- ELF notes, and the one that a 64-bit domain has no use for ---- */

#include "../notes.h"
        note    18, .long xen_pvh_entry - IMAGE_VIRTUAL_BASE /* PHYS32_ENTRY */

/* ---- entry: ESI = start_info, paging on, a small stack ---- */

        .section .text.entry, "ax"
        .globl  xen_pv_entry
        .type   xen_pv_entry, @function
xen_pv_entry:
        cld
        mov     $boot_stack_top, %esp
        xor     %ebp, %ebp
        push    %esi
        call    xen_pv_start
        ud2
        .size   xen_pv_entry, . - xen_pv_entry

/* ---- trap entries: those of cpu/32, whose frames are Xen's, too ---- */

        .text
        .globl  xen_pv_event_entry
xen_pv_event_entry:
        jmp     trap_stubs + VECTOR_EVENT * TRAP_STUB_BYTES

/* Xen could not load a segment register on its way back to us: DS, ES, FS, GS lie below EIP. */
        .globl  xen_pv_failsafe_entry
xen_pv_failsafe_entry:
        add     $4 * 4, %esp
        jmp     trap_stubs + VECTOR_FAILSAFE * TRAP_STUB_BYTES

/* For set_trap_table: the entry of each vector. */
        .section .rodata, "a"
        .globl  xen_pv_trap_entries
        .balign 4
xen_pv_trap_entries:
        .irp    vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
        .long   trap_stubs + \vector * TRAP_STUB_BYTES
        .endr

/* ---- pages ---- */

/* Xen writes one stub for each hypercall here before it starts us. */
        .section .text.hypercall_page, "ax"
        .globl  hypercall_page
        .balign 4096
hypercall_page:
        .fill   4096, 1, 0xcc

        .section .bss.page, "aw", @nobits
        .globl  xen_shared_info
        .balign 4096
xen_shared_info:
        .skip   4096

        .section .note.GNU-stack, "", @progbits
