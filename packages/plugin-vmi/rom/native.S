/*
 * The ROM that keeps everything native: the baseline. IRET and SYSEXIT cannot be kept: kernels since 2.6.24 jump through
 * slots that hold no address until they have been patched. An I/O delay is of no use to the devices of this machine.
 */
#include "calls.inc"

  .text
  .globl vmi_init
vmi_init:
  xorl %eax, %eax
  ret

vmi_iret:
  iretl

/* The return to user mode at EDX with the stack ECX; interrupts are on there. */
vmi_sysexit:
  sti
  sysexit

  answer IRET, JUMP, vmi_iret
  answer SYSEXIT, JUMP, vmi_sysexit
  answer IODelay, NOP
  end_of_answers

  .section .note.GNU-stack, "", @progbits
