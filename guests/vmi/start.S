/* The 32-bit entry of a bzImage (Linux, Documentation/arch/x86/boot.rst): flat segments, ESI is the zero page. */
  .section .setup, "a"
  .org 0x1f1
  .byte 1                          /* setup_sects */
  .org 0x1fe
  .word 0xaa55
  .org 0x202
  .ascii "HdrS"
  .word 0x207                      /* boot protocol 2.07: no payload, nothing to relocate */
  .org 0x211
  .byte 1                          /* loadflags: LOADED_HIGH */
  .org 0x214
  .long start                      /* code32_start */
  .org 0x22c
  .long 0x37ffffff                 /* initrd_addr_max */
  .org 0x238
  .long 255                        /* cmdline_size */

  .section .entry, "ax"
  .globl start
start:
  cli
  cld
  movl $stack_end, %esp
  lgdtl gdt_pointer
  ljmpl $8, $1f
1:
  movl $0x10, %eax
  movw %ax, %ds
  movw %ax, %es
  movw %ax, %fs
  movw %ax, %gs
  movw %ax, %ss
  movl $bss, %edi
  movl $bss_end, %ecx
  subl %edi, %ecx
  xorl %eax, %eax
  rep stosb
  movl 0x228(%esi), %eax           /* cmd_line_ptr */
  call main
2:
  hlt
  jmp 2b

  .data
  .balign 8
  .globl gdt
/* SYSENTER and SYSEXIT want the first five in this order (SDM vol. 2B, SYSEXIT). */
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff         /* 08 kernel code */
  .quad 0x00cf93000000ffff         /* 10 kernel data */
  .quad 0x00cffb000000ffff         /* 18 user code */
  .quad 0x00cff3000000ffff         /* 20 user data */
  .fill 11, 8, 0                   /* 28 TSS, 30 LDT, and those that tests write */
  .globl gdt_pointer
gdt_pointer:
  .word . - gdt - 1
  .long gdt

  .bss
  .balign 4096
  .skip 16384
  .globl stack_end
stack_end:
