/*
 * Everything of the xen_pv door that has to be assembly: ELF notes, entry point, hypercall page, trap entries.
 *
 * Sources: Xen public/arch-x86/xen.h ("start of day"), docs/guest-guide/x86/pv-traps.rst (frames),
 * public/arch-x86/xen-x86_64.h (iret).
 */
#include "../../xen/abi.h"

/* ---- ELF notes ---- */

#include "../notes.h"

/* ---- entry: RSI = start_info, paging on, a small stack ---- */

        .section .text.entry, "ax"
        .globl  xen_pv_entry
        .type   xen_pv_entry, @function
xen_pv_entry:
        cld
        lea     boot_stack_top(%rip), %rsp
        xor     %ebp, %ebp
        mov     %rsi, %rdi
        call    xen_pv_start
        ud2
        .size   xen_pv_entry, . - xen_pv_entry

/* ---- trap entries ----
 *
 * Xen pushes RCX, R11, [error code,] RIP, CS, RFLAGS, RSP, SS on the stack that was in use, aligned to 16 bytes. The
 * first two are popped at once, so that from there on the frame is the CPU's own and becomes a struct trap_frame.
 */
        .text
        .macro  trap_entry vector, has_error_code
        .balign 16
xen_pv_trap_\vector:
        pop     %rcx
        pop     %r11
        .if     !\has_error_code
        push    $0
        .endif
        push    $\vector
        jmp     trap_common
        .endm

        .irp    vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19
        trap_entry \vector, 0
        .endr
        .irp    vector, 8, 10, 11, 12, 13, 14, 17
        trap_entry \vector, 1
        .endr

        .globl  xen_pv_event_entry
xen_pv_event_entry:
        pop     %rcx
        pop     %r11
        push    $0
        push    $VECTOR_EVENT
        jmp     trap_common

/* Xen could not load a segment register on its way back to us: DS, ES, FS, GS lie between R11 and RIP. */
        .globl  xen_pv_failsafe_entry
xen_pv_failsafe_entry:
        pop     %rcx
        pop     %r11
        add     $4 * 8, %rsp
        push    $0
        push    $VECTOR_FAILSAFE

trap_common:
        cld
        .irp    register, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        push    %\register
        .endr
        mov     %rsp, %rdi
        call    xen_pv_trap
        .irp    register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
        pop     %\register
        .endr
        add     $2 * 8, %rsp                    /* vector and error code */
        push    $0                              /* iret flags: RCX and R11 are to be restored */
        jmp     hypercall_page + HYPERCALL_IRET * HYPERCALL_STUB_BYTES

/* For set_trap_table: the entry of each vector, 0 where there is none. */
        .section .rodata, "a"
        .globl  xen_pv_trap_entries
        .balign 8
xen_pv_trap_entries:
        .irp    vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
        .quad   xen_pv_trap_\vector
        .endr

/* ---- pages ---- */

/* Xen writes one stub for each hypercall here before it starts us. */
        .section .text.hypercall_page, "ax"
        .globl  hypercall_page
        .balign 4096
hypercall_page:
        .fill   4096, 1, 0xcc

/* The shared info page is mapped over this one: the frame behind it is lost. */
        .section .bss.page, "aw", @nobits
        .globl  xen_shared_info
        .balign 4096
xen_shared_info:
        .skip   4096
        .skip   16384
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
