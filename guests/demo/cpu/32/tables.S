/*
 * Page tables of PAE (Intel SDM vol. 3A, "PAE Paging") for doors that bring their own: the lowest 2 MB of memory at
 * image_virtual_base, in pages of 4 KB; and, until a door is through, at 0.
 */
#include "layout.h"

        .data
        .balign 4096
        .globl  page_directory_pointers, page_table
page_directory_pointers:
        .long   page_directory - IMAGE_VIRTUAL_BASE + 1, 0
        .quad   0, 0
        .long   page_directory - IMAGE_VIRTUAL_BASE + 1, 0
        .balign 4096
page_directory:
        .long   page_table - IMAGE_VIRTUAL_BASE + 0x63, 0
        .fill   511, 8, 0
page_table:
        .set    page, 0
        .rept   512
        .quad   page * 4096 + 0x63              /* present, writable, accessed, dirty */
        .set    page, page + 1
        .endr

        .globl  boot_stack_top
        .section .bss.stack, "aw", @nobits
        .balign 16
        .skip   16384
boot_stack_top:

        .section .note.GNU-stack, "", @progbits
