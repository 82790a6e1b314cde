/* bool catch_trap(void (*function)(void)): see trap.h. Only one can be active at a time. */

        .text
        .globl  catch_trap
        .type   catch_trap, @function
catch_trap:
        push    %rbp
        push    %rbx
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        sub     $8, %rsp                        /* the ABI wants RSP 16-byte aligned at a call */
        mov     %rsp, catch_stack(%rip)
        call    *%rdi
        xor     %eax, %eax
        jmp     catch_leave

/* handle_trap() sets RIP here. Whatever the function left on the stack is dropped. */
        .globl  catch_resume
catch_resume:
        mov     catch_stack(%rip), %rsp
        mov     $1, %eax
catch_leave:
        movq    $0, catch_stack(%rip)
        add     $8, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbx
        pop     %rbp
        ret
        .size   catch_trap, . - catch_trap

        .bss
        .balign 8
        .globl  catch_stack                     /* 0 when nothing is to be caught */
catch_stack:
        .quad   0

        .section .note.GNU-stack, "", @progbits
