/*
 * The way back from a trap. What the frame has as EFLAGS.IF is what irq_enabled is to be; between the two the host lets no
 * interrupt in (Linux 2.6.32, arch/x86/lguest/i386_head.S, lguest_iret).
 */
        .text
        .globl  lguest_return, lguest_iret_start, lguest_iret_end
lguest_return:
        push    %eax
        mov     12(%esp), %eax
lguest_iret_start:
        mov     %eax, %ss:lguest_data           /* irq_enabled */
        pop     %eax
        iret
lguest_iret_end:

        .section .note.GNU-stack, "", @progbits
