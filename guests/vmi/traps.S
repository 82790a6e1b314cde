/* Exceptions, interrupts, and calls that may end in an exception. */
  .text
/* Stubs of 16 bytes: vectors 0 to 0x3f. Those that push no error code push a 0. */
  .balign 16
  .globl trap_stubs
trap_stubs:
  .set vector, 0
  .rept 64
  .balign 16
  .if !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17))
  pushl $0
  .endif
  pushl $vector
  jmp trap
  .set vector, vector + 1
  .endr

trap:
  cmpl $32, (%esp)
  jae interrupt
  cmpl $0, recover_eip
  je 1f
  movl (%esp), %eax
  movl recover_esp, %esp
  jmp *recover_eip
1:
  movl (%esp), %eax
  movl 8(%esp), %edx
  call unexpected

interrupt:
  pushal
  movl 32(%esp), %eax
  call on_interrupt
  popal
  addl $8, %esp
  jmp site_IRET                    /* as a kernel returns */

/* int invoke(struct invocation *): -1, or the vector of the exception that the call ended in. Interrupts are off then. */
  .globl invoke
invoke:
  pushl %ebp
  pushl %ebx
  pushl %esi
  pushl %edi
  movl %eax, %esi
  movl %esp, recover_esp
  movl $1f, recover_eip
  pushl 20(%esi)
  pushl 16(%esi)
  movl 4(%esi), %eax
  movl 8(%esi), %edx
  movl 12(%esi), %ecx
  call *(%esi)
  movl %eax, 4(%esi)
  movl %edx, 8(%esi)
  movl %ecx, 12(%esi)
  movl %ebx, 24(%esi)
  addl $8, %esp
  movl $-1, %eax
1:
  movl $0, recover_eip
  popl %edi
  popl %esi
  popl %ebx
  popl %ebp
  ret

  .bss
  .balign 4
recover_esp: .long 0
recover_eip: .long 0
