/* What a kernel does where the ROM keeps native code: the same arguments and results as the calls'. */
.macro native name, instruction:vararg
  .globl native_\name
native_\name:
  \instruction
  ret
.endm

  .text
  native CPUID, cpuid
  native WRMSR, wrmsr
  native RDMSR, rdmsr
  native SetGDT, lgdtl (%eax)
  native SetLDT, lldt %ax
  native SetIDT, lidtl (%eax)
  native SetTR, ltr %ax
  native GetGDT, sgdtl (%eax)
  native GetLDT, sldt %eax
  native GetIDT, sidtl (%eax)
  native GetTR, str %eax
  native SetCR0, movl %eax, %cr0
  native SetCR2, movl %eax, %cr2
  native SetCR3, movl %eax, %cr3
  native SetCR4, movl %eax, %cr4
  native GetCR0, movl %cr0, %eax
  native GetCR2, movl %cr2, %eax
  native GetCR3, movl %cr3, %eax
  native GetCR4, movl %cr4, %eax
  native WBINVD, wbinvd
  native RDPMC, rdpmc
  native RDTSC, rdtsc
  native CLTS, clts
  native EnableInterrupts, sti
  native DisableInterrupts, cli
  native InvalPage, invlpg (%eax)
  native nothing

  .globl native_GetInterruptMask, native_SetInterruptMask, native_Halt, native_WriteEntry, native_FlushTLB
native_GetInterruptMask:
  pushfl
  popl %eax
  ret
native_SetInterruptMask:
  andl $0x200, %eax
  pushfl
  andl $~0x200, (%esp)
  orl %eax, (%esp)
  popfl
  ret
native_Halt:
  sti
  hlt
  ret
native_WriteEntry:
  movl %ecx, (%eax, %edx, 8)
  movl 4(%esp), %ecx
  movl %ecx, 4(%eax, %edx, 8)
  ret
/* All translations, global ones too: CR4.PGE off and on again (SDM vol. 3A, 4.10.4.1). */
native_FlushTLB:
  movl %cr4, %eax
  movl %eax, %edx
  andl $~0x80, %edx
  movl %edx, %cr4
  movl %eax, %cr4
  movl %cr3, %eax
  movl %eax, %cr3
  ret

  .globl native_SetDR, native_GetDR, native_SetPxE, native_SetPxELong, native_UpdateKernelStack, native_SetIOPLMask
.macro each_debug_register instruction
  .irp number, 0, 1, 2, 3, 6, 7
  cmpl $\number, %eax
  jne 1f
  \instruction \number
  ret
1:
  .endr
  ud2
.endm
.macro to_debug_register number
  movl %edx, %db\number
.endm
.macro from_debug_register number
  movl %db\number, %eax
.endm
native_SetDR:
  each_debug_register to_debug_register
native_GetDR:
  each_debug_register from_debug_register
native_SetPxE:
  movl %eax, (%edx)
  ret
/* With CR3, for the sake of the upper entries. */
native_SetPxELong:
  movl %eax, (%ecx)
  movl %edx, 4(%ecx)
  movl %cr3, %eax
  movl %eax, %cr3
  ret
native_UpdateKernelStack:
  movl %edx, tss + 4
  movl %eax, tss + 8
  ret
native_SetIOPLMask:
  pushfl
  andl $~0x3000, (%esp)
  orl %eax, (%esp)
  popfl
  ret
