/*
 * Trap entries, for every door: stub n is for vector n. On the stack is what the CPU (or hypervisor) pushed where the level
 * stays the same: [error code,] EIP, CS, EFLAGS; it becomes a struct trap_frame. How to hand it on and how to go back is
 * the door's.
 */
#include "stubs.h"

        .text
        .globl  trap_stubs
        .balign TRAP_STUB_BYTES
trap_stubs:
        .set    vector, 0
        .rept   TRAP_STUBS
        .balign TRAP_STUB_BYTES
        .if     !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17))
        push    $0
        .endif
        push    $vector
        jmp     trap_common
        .set    vector, vector + 1
        .endr

trap_common:
        pusha
        cld
        push    %esp
        call    *trap_handler
        add     $4, %esp
        popa
        add     $2 * 4, %esp                    /* vector and error code */
        jmp     *trap_return

/* For trap_return: where nothing but the CPU is in between. */
        .globl  return_by_iret
return_by_iret:
        iret

        .section .note.GNU-stack, "", @progbits
