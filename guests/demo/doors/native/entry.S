/*
 * Entries without a hypervisor's page tables: from Multiboot, from the ELF header as a Linux kernel's, from Xen's PVH; and,
 * by the ELF header too, from lguest. The image runs at its physical address first.
 *
 * Sources: Multiboot 0.6.96, 3.1 and 3.2; Linux Documentation/arch/x86/boot.rst; Xen docs/misc/pvh.pandoc; Linux 2.6.32,
 * Documentation/lguest/lguest.c.
 */
#include "layout.h"

#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 3                       /* modules on page boundaries, memory information */
#define SUBARCH_AT 0x23c                        /* hardware_subarch in boot_params */
#define SUBARCH_LGUEST 1
#define CODE 8
#define DATA 0x10

        .section .multiboot, "a"
        .balign 4
        .long   MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .section .text.entry, "ax"
        .globl  native_entry
        .type   native_entry, @function
native_entry:
        cld
        mov     %cs, %ecx
        and     $3, %ecx
        jz      1f
        cmpl    $SUBARCH_LGUEST, SUBARCH_AT(%esi)
        jne     .
        mov     $boot_stack_top, %esp           /* paging is on, with the image at its place */
        push    %esi
        mov     $lguest_start, %eax
        call    *%eax
        ud2
1:      mov     $native_start, %edi
        jmp     enable_paging
        .size   native_entry, . - native_entry

        .globl  xen_pvh_entry
        .type   xen_pvh_entry, @function
xen_pvh_entry:
        cld
        mov     $xen_pvh_start, %edi

/* EDI: the C function to go to, with EAX, EBX and ESI as arguments. */
enable_paging:
        cli
        mov     $page_directory_pointers - IMAGE_VIRTUAL_BASE, %ecx
        mov     %ecx, %cr3
        mov     %cr4, %ecx
        or      $0x20, %ecx                     /* CR4.PAE */
        mov     %ecx, %cr4
        mov     %cr0, %ecx
        or      $0x80010000, %ecx               /* CR0.PG, CR0.WP */
        mov     %ecx, %cr0
        mov     $1f, %ecx
        jmp     *%ecx
1:      lgdt    gdt_pointer
        ljmp    $CODE, $2f
2:      mov     $DATA, %ecx
        mov     %ecx, %ds
        mov     %ecx, %es
        mov     %ecx, %ss
        mov     %ecx, %fs
        mov     %ecx, %gs
        mov     $boot_stack_top, %esp
        xor     %ebp, %ebp
        push    %esi
        push    %ebx
        push    %eax
        call    *%edi
        ud2
        .size   xen_pvh_entry, . - xen_pvh_entry

        .section .rodata, "a"
        .balign 8
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff              /* CODE: flat, from 0 to 4 GB */
        .quad   0x00cf93000000ffff              /* DATA */
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt

        .section .note.GNU-stack, "", @progbits
