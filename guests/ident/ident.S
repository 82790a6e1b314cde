# A kernel with one entry for all hypervisors: the ident is compared with those of a table, and the init beside it is called.
.set MAGIC, 0x746e6449
.section .note.ident, "a"
	.long 6, table_end - table, 1
	.asciz "Ident"
	.balign 4
table:
	.long 0, init_xen3
	.long 1, init_vmi
	.long 0x7473676c, init_lguest	# "lgst"
table_end:

.text
.globl entry
entry:
	# ESI 0: the ident is in EBX. Otherwise ESI points to the block that has it.
	testl %esi, %esi
	jz 1f
	cmpl $MAGIC, (%esi)
	jne unknown
	movl 8(%esi), %ebx
1:	movl $table, %edi
2:	cmpl $table_end, %edi
	je unknown
	cmpl %ebx, (%edi)
	je 3f
	addl $8, %edi
	jmp 2b
3:	jmp *4(%edi)

init_xen3:
	movl $text_xen3, %esi
	jmp say
init_vmi:
	movl $text_vmi, %esi
	jmp say
init_lguest:
	movl $text_lguest, %esi
say:
	movb (%esi), %al
	incl %esi
	testb %al, %al
	jz 4f
	outb %al, $0xe9
	jmp say
4:	outb %al, $0xf4
	hlt
unknown:
	movb $1, %al
	outb %al, $0xf4
	hlt

.section .rodata
text_xen3: .asciz "init of Xen 3.0\n"
text_vmi: .asciz "init of VMI\n"
text_lguest: .asciz "init of lguest\n"
