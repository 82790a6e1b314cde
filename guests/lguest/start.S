# Entry of the guest, gates, and the way to user mode and back.
.section .text.entry, "ax"
.globl start
start:
	# Level 1, flat segments, paging on, interrupts on, ESI: boot_params. Only the processor is looked at yet.
	movl %esp, %ebx
	movl $stack_top, %esp
	pushl $0
	popfl
	pushl %esi
	pushl %ebx
	movl $main, %eax
	call *%eax

.text
# A gate's entry: vector and error code, then all registers; C gets their address.
.macro gate vector has_code=0
.globl gate_\vector
gate_\vector:
	.if \has_code == 0
	pushl $0
	.endif
	pushl $\vector
	jmp common
.endm
gate 3
gate 6
gate 7
gate 13 1
gate 14 1
gate 32
gate 33
gate 34
gate 35
gate 36
gate 37
gate 128

common:
	pushal
	pushl %ds
	movl $0x69, %eax
	movl %eax, %ds
	movl %eax, %es
	pushl %esp
	call trap
	addl $4, %esp
	popl %eax
	movl %eax, %ds
	movl %eax, %es
	popal
	addl $8, %esp
	pushl %eax
	movl 12(%esp), %eax
	# The frame's IF is what irq_enabled is to be: no interrupt may come from here on.
.globl iret_start, iret_itself, iret_end
iret_start:
	movl %eax, %ss:lguest_data
	popl %eax
iret_itself:
	iret
iret_end:

# void enter_user(u32 eip, u32 esp): comes back through leave_user.
.globl enter_user
enter_user:
	movl 4(%esp), %eax
	movl 8(%esp), %edx
	pushal
	movl %esp, user_return
	movl $0x7b, %ecx
	movl %ecx, %ds
	movl %ecx, %es
	pushl $0x7b
	pushl %edx
	pushl $0x202
	pushl $0x73
	pushl %eax
	iret
.globl leave_user
leave_user:
	movl user_return, %esp
	movl $0x69, %eax
	movl %eax, %ds
	movl %eax, %es
	popal
	ret

# What runs at level 3: three system calls, an IN that is forbidden, an end.
.globl user_code, user_code_end
user_code:
	movl $1, %eax
	int $0x80
	movl $0x12345678, %ebx
	int $0x80
	xorl %eax, %eax
	inb $0x60, %al
	movl $2, %eax
	int $0x80
	int $0x1f
	movl $0x50001008, %ecx
	movl (%ecx), %edx
	movl (%ecx), %edx
	movl (%ecx), %edx
	movl (%ecx), %edx
	movl $3, %eax
	int $0x80
	jmp .
user_code_end:

.bss
.balign 4096
.skip 16384
.globl stack_top
stack_top:
user_return: .long 0
