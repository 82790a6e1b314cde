/*
 * The headers by which boot loaders know a Multiboot (0.6.96, 3.1) and a Multiboot2 kernel (2.0, 3.1), the note by which
 * Polyvisor knows that the ops modules of a boot list are handed over from here, and the entry for both.
 */
#define MULTIBOOT1              0x1badb002
#define MULTIBOOT1_FLAGS        3               /* modules on pages; memory information */
#define MULTIBOOT2              0xe85250d6
#define MULTIBOOT2_I386         0
#define TAG_MODULE_ALIGN        6
#define TAG_END                 0
#define NOTE_HANDS_OVER         1               /* docs/ops-modules.md, "A boot loader in the guest" */

        .section .headers, "a"
        .balign 8
        .long   MULTIBOOT1, MULTIBOOT1_FLAGS, -(MULTIBOOT1 + MULTIBOOT1_FLAGS)
        .balign 8
multiboot2:
        .long   MULTIBOOT2, MULTIBOOT2_I386, multiboot2_end - multiboot2
        .long   -(MULTIBOOT2 + MULTIBOOT2_I386 + (multiboot2_end - multiboot2))
        .short  TAG_MODULE_ALIGN, 0
        .long   8
        .short  TAG_END, 0
        .long   8
multiboot2_end:

        .section .note.polyvisor, "a", @note
        .balign 4
        .long   2f - 1f, 0, NOTE_HANDS_OVER
1:      .asciz  "Polyvisor"
2:      .balign 4

        .text
        .globl  start
start:  cli
        cld
        mov     $stack_end, %esp
        push    %ebx
        push    %eax
        call    boot
1:      hlt
        jmp     1b

        .bss
        .balign 16
        .skip   16384
stack_end:
