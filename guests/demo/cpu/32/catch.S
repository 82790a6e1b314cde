/* bool catch_trap(void (*function)(void)): see trap.h. Only one can be active at a time. The argument is on the stack. */

        .text
        .globl  catch_trap
        .type   catch_trap, @function
catch_trap:
        mov     4(%esp), %eax
        push    %ebp
        push    %ebx
        push    %esi
        push    %edi
        mov     %esp, catch_stack
        call    *%eax
        xor     %eax, %eax
        jmp     catch_leave

/* handle_trap() sets EIP here. Whatever the function left on the stack is dropped. */
        .globl  catch_resume
catch_resume:
        mov     catch_stack, %esp
        mov     $1, %eax
catch_leave:
        movl    $0, catch_stack
        pop     %edi
        pop     %esi
        pop     %ebx
        pop     %ebp
        ret
        .size   catch_trap, . - catch_trap

        .bss
        .balign 4
        .globl  catch_stack                     /* 0 when nothing is to be caught */
catch_stack:
        .long   0

        .section .note.GNU-stack, "", @progbits
