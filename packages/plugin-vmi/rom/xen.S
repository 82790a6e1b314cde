/*
 * The ROM that stands on Xen: time, alarms, the end of the machine and the flush of all translations are hypercalls of an HVM
 * guest; all else stays native, as it does in such a guest. xen.c makes the calls; here are the two that are jumped to.
 */
#include "calls.inc"

.set UPCALL_PENDING, 0             /* in vcpu_info, with which shared_info begins (Xen public/xen.h) */

  .text
/*
 * The frame of the interrupt is on the stack, and DS and ES may be user mode's. An upcall that is pending has been an
 * interrupt of IRQ 0 by now, or waits in an interrupt controller to become one: Xen makes the next edge once it is taken.
 */
vmi_IRET:
  pushl %eax
  call 1f
1:
  popl %eax
  cmpb $0, %ss:shared_info + UPCALL_PENDING - 1b(%eax)
  jne 2f
  popl %eax
  iretl
2:
  pushl %edx
  pushl %ecx
  pushl %ds
  pushl %es
  pushfl
  cli
  movl %ss, %eax
  movl %eax, %ds
  movl %eax, %es
  cld
  call take_events
  popfl
  popl %es
  popl %ds
  popl %ecx
  popl %edx
  popl %eax
  iretl
  answer IRET, JUMP, vmi_IRET

/* The return to user mode at EDX with the stack ECX; interrupts are on there. */
vmi_SYSEXIT:
  sti
  sysexit
  answer SYSEXIT, JUMP, vmi_SYSEXIT

/* SCHEDOP_block would not be one step with the STI before it; HLT is, and leads to Xen as well. */
vmi_Halt:
  sti
  hlt
  ret
  answer Halt, CALL, vmi_Halt

  answer Reboot, CALL, vmi_Reboot
  answer Shutdown, CALL, vmi_Shutdown
  answer FlushTLB, CALL, vmi_FlushTLB
  answer IODelay, NOP
  answer GetCycleFrequency, CALL, vmi_GetCycleFrequency
  answer GetCycleCounter, CALL, vmi_GetCycleCounter
  answer SetAlarm, CALL, vmi_SetAlarm
  answer CancelAlarm, CALL, vmi_CancelAlarm
  answer GetWallclockTime, CALL, vmi_GetWallclockTime
  answer WallclockUpdated, CALL, vmi_WallclockUpdated
  end_of_answers

/* Pages that VMI_Init has Xen fill: one stub for each hypercall, and shared_info. */
  .section .pages, "aw"
  .balign 4096
  .globl hypercall_page, shared_info
hypercall_page:
  .fill 4096, 1, 0xcc
shared_info:
  .fill 4096, 1, 0

  .section .note.GNU-stack, "", @progbits
