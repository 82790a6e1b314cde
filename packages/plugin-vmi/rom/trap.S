/*
 * The ROM whose every call traps to the plug-in: VMCALL with the call's number on the stack. Registers and stack are the
 * caller's, so the plug-in finds the arguments where the ABI puts them, and leaves the results there.
 *
 * Where a call is one instruction of the processor, the plug-in looks at it and the ROM carries it out, faults included.
 */
#include "calls.inc"

.set CALL_Init, 127                /* no number of the ABI: initialisation has a slot of its own */

.macro trap call
  pushl $CALL_\call
  vmcall
  leal 4(%esp), %esp               /* flags stay */
.endm

/* The plug-in carries it out. */
.macro carried_out call
vmi_\call:
  trap \call
  ret
  answer \call, CALL, vmi_\call
.endm

/* The plug-in sees it, the processor carries it out. */
.macro seen call, instruction:vararg
vmi_\call:
  trap \call
  \instruction
  ret
  answer \call, CALL, vmi_\call
.endm

/* The registers that the processor has under the numbers 0 to 7; it knows itself what 4 and 5 are. */
.macro each_debug_register macro
  .irp number, 0, 1, 2, 3, 4, 5, 6, 7
  cmpb $\number, %al
  jne 1f
  \macro \number
1:
  .endr
.endm
.macro write_debug_register number
  movl %edx, %db\number
  ret
.endm
.macro read_debug_register number
  movl %db\number, %eax
  ret
.endm

  .text
  .globl vmi_init
vmi_init:
  trap Init
  ret

/* In the order of their numbers. */
  seen CPUID, cpuid
  seen WRMSR, wrmsr
  seen RDMSR, rdmsr
  seen SetGDT, lgdtl (%eax)
  seen SetLDT, lldt %ax
  seen SetIDT, lidtl (%eax)
  seen SetTR, ltr %ax
  seen GetGDT, sgdtl (%eax)
  seen GetLDT, sldt %eax
  seen GetIDT, sidtl (%eax)
  seen GetTR, str %eax
  carried_out WriteGDTEntry
  carried_out WriteLDTEntry
  carried_out WriteIDTEntry
  carried_out UpdateKernelStack
  seen SetCR0, movl %eax, %cr0
  seen SetCR2, movl %eax, %cr2
  seen SetCR3, movl %eax, %cr3
  seen SetCR4, movl %eax, %cr4
  seen GetCR0, movl %cr0, %eax
  seen GetCR2, movl %cr2, %eax
  seen GetCR3, movl %cr3, %eax
  seen GetCR4, movl %cr4, %eax
  seen WBINVD, wbinvd

/* EAX is the number of the register; the plug-in has refused those above 7. */
vmi_SetDR:
  trap SetDR
  each_debug_register write_debug_register
  ret
  answer SetDR, CALL, vmi_SetDR
vmi_GetDR:
  trap GetDR
  each_debug_register read_debug_register
  ret
  answer GetDR, CALL, vmi_GetDR

  seen RDPMC, rdpmc
  seen RDTSC, rdtsc
  seen CLTS, clts
  carried_out EnableInterrupts
  carried_out DisableInterrupts
  carried_out GetInterruptMask
  carried_out SetInterruptMask

/* These two are jumped to: the frame of the interrupt is on the stack, or EDX and ECX hold where to go. */
vmi_IRET:
  trap IRET
  iretl
  answer IRET, JUMP, vmi_IRET
vmi_SYSEXIT:
  trap SYSEXIT
  sti
  sysexit
  answer SYSEXIT, JUMP, vmi_SYSEXIT

/* Interrupts are on while the processor sleeps, and none comes between the two instructions. */
vmi_Halt:
  trap Halt
  sti
  hlt
  ret
  answer Halt, CALL, vmi_Halt

  carried_out Reboot
  carried_out Shutdown
  carried_out SetPxE
  carried_out SetPxELong
  carried_out UpdatePxE
  carried_out UpdatePxELong
  carried_out MachineToPhysical
  carried_out PhysicalToMachine
  carried_out AllocatePage
  carried_out ReleasePage
  carried_out InvalPage
  carried_out FlushTLB
  carried_out SetLinearMapping
  carried_out SetIOPLMask
  carried_out SetInitialAPState
  carried_out APICWrite
  carried_out APICRead
  carried_out IODelay
  carried_out GetCycleFrequency
  carried_out GetCycleCounter
  carried_out SetAlarm
  carried_out CancelAlarm
  carried_out GetWallclockTime
  carried_out WallclockUpdated
  carried_out SetLazyMode
  end_of_answers

  .section .note.GNU-stack, "", @progbits
