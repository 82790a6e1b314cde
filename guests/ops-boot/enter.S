/*
 * The last steps, from a copy in low memory, where nothing of the kernel comes: its code to its place, then its 32-bit entry
 * (Linux, Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"): flat segments __BOOT_CS and __BOOT_DS, interrupts and
 * paging off, the zero page in ESI, and EBP, EDI and EBX 0.
 *
 * Position-independent. EBP: struct hand_off, whose offsets hand_off.h has.
 */
#include "hand_off.h"

        .text
        .globl  enter_code
enter_code:
        mov     HAND_OFF_FROM(%ebp), %esi
        mov     HAND_OFF_TO(%ebp), %edi
        mov     HAND_OFF_BYTES(%ebp), %ecx
        cmp     %esi, %edi
        jbe     1f
        lea     -1(%esi, %ecx), %esi
        lea     -1(%edi, %ecx), %edi
        std
1:      rep movsb
        cld
        lgdt    HAND_OFF_GDTR(%ebp)
        mov     $BOOT_DS, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %fs
        mov     %eax, %gs
        mov     %eax, %ss
        lea     HAND_OFF_STACK_END(%ebp), %esp
        push    $2                      /* RFLAGS: none but the bit that is always set */
        popf
        push    $BOOT_CS
        push    HAND_OFF_ENTRY(%ebp)
        mov     %ebp, %esi
        xor     %eax, %eax
        xor     %ebx, %ebx
        xor     %ecx, %ecx
        xor     %edx, %edx
        xor     %edi, %edi
        xor     %ebp, %ebp
        lret
        .org    enter_code + CODE_BYTES

/* void enter(struct hand_off *): at the copy of the code above that it holds. */
        .globl  enter
enter:  mov     4(%esp), %ebp
        lea     HAND_OFF_CODE(%ebp), %eax
        jmp     *%eax
