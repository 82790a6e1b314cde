/*
 * A guest for the interface that examples/minimal-plugin defines: it prints a line and ends.
 *
 * Hypercall: VMMCALL with the number in RAX and the argument in RDI; the result replaces RAX, all else is kept.
 */

#define HYPERCALL_PUTCHAR       0
#define HYPERCALL_EXIT          1

        .section .note.Minimal, "a", @note
        .balign 4
        .long   2f - 1f, 4f - 3f, 1             /* type 1: entry address */
1:      .asciz  "Minimal"
2:      .balign 4
3:      .quad   start
4:      .balign 4

        .text
        .globl  start
start:
        lea     line(%rip), %rbx
next:   movzbl  (%rbx), %edi
        test    %edi, %edi
        jz      done
        mov     $HYPERCALL_PUTCHAR, %eax
        .globl  putchar
putchar:
        vmmcall
        inc     %rbx
        jmp     next
done:   push    %rdi                            /* there is a stack: status 0 goes over it */
        pop     %rdi
        mov     $HYPERCALL_EXIT, %eax
        vmmcall
        ud2                                     /* a guest that has ended does not come back */

line:   .asciz  "hello from a guest of a plug-in of my own\n"

        .section .note.GNU-stack, "", @progbits
