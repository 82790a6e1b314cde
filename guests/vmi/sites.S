/*
 * Sites that are patched with what the ROM answers: five bytes of native code each, room for a call or jump. What is kept
 * native runs as it stands.
 */
.macro site name, instruction:vararg
  .globl site_\name
site_\name:
9:
  \instruction
  .fill 5 - (. - 9b), 1, 0x90
.endm

  .text
  .globl patched_cli, patched_sti, patched_save, patched_restore
patched_cli:
  site DisableInterrupts, cli
  ret
patched_sti:
  site EnableInterrupts, sti
  ret
patched_save:
  .globl site_GetInterruptMask
site_GetInterruptMask:
  pushfl
  popl %eax
  .byte 0x90, 0x90, 0x90
  ret
patched_restore:
  .globl site_SetInterruptMask
site_SetInterruptMask:
  pushl %eax
  popfl
  .byte 0x90, 0x90, 0x90
  ret

/* unsigned return_here(unsigned flags): IRET within the kernel; answers the flags that it has left. */
  .globl return_here
return_here:
  pushl %eax
  pushl %cs
  pushl $1f
  site IRET, iretl
1:
  pushfl
  popl %eax
  ret

/*
 * unsigned to_user_by_iret(void), to_user_by_sysexit(void): user code stores its flags and its CS, and comes back by
 * INT 0x80, whose handler is below.
 */
.macro user_data
  movl $0x23, %eax
  movw %ax, %ds
  movw %ax, %es
.endm
  .globl to_user_by_iret, to_user_by_sysexit, from_user
to_user_by_iret:
  pushal
  movl %esp, kernel_esp
  movl %esp, tss + 4
  user_data
  pushl $0x23
  pushl $user_stack_end
  pushl $0x202
  pushl $0x1b
  pushl $user
  jmp site_IRET
to_user_by_sysexit:
  pushal
  movl %esp, kernel_esp
  movl %esp, tss + 4
  user_data
  movl $user, %edx
  movl $user_stack_end, %ecx
  site SYSEXIT, sti
  sysexit

user:
  pushfl
  popl user_flags
  movw %cs, user_cs
  int $0x80
from_user:
  movl $0x10, %eax
  movw %ax, %ds
  movw %ax, %es
  movl kernel_esp, %esp
  popal
  ret

  .bss
  .balign 4
kernel_esp: .long 0
  .globl user_flags, user_cs
user_flags: .long 0
user_cs: .long 0
  .skip 1024
user_stack_end:
