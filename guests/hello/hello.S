/*
 * The smallest 64-bit Xen PV guest that says something.
 *
 * It writes two lines with CONSOLEIO_write, one through the hypercall page and one with a bare SYSCALL (the two
 * transfers a PV guest may use), then powers itself off.
 *
 * 64-bit hypercalls: number in RAX, arguments in RDI RSI RDX R10 R8, result in RAX; RCX and R11 are lost to SYSCALL
 * (Xen docs/guest-guide/x86/hypercall-abi.rst). Entry state: Xen public/arch-x86/xen.h, "start of day".
 */

#define HYPERCALL_CONSOLE_IO    18
#define HYPERCALL_SCHED_OP      29
#define CONSOLEIO_WRITE         0
#define SCHEDOP_SHUTDOWN        2
#define SHUTDOWN_POWEROFF       0
#define HYPERCALL_STUB_BYTES    32

#define VIRT_BASE               0xffffffff80000000

/* ---- ELF notes (Xen public/elfnote.h) ---- */

#include "../elf-note.h"

        .section .note.Xen, "a", @note
        note    1, .quad start                  /* ENTRY */
        note    2, .quad hypercall_page         /* HYPERCALL_PAGE */
        note    3, .quad VIRT_BASE              /* VIRT_BASE */
        note    4, .quad 0                      /* PADDR_OFFSET */
        note    5, .asciz "xen-3.0"             /* XEN_VERSION */
        note    6, .asciz "polyvisor-hello"     /* GUEST_OS */
        note    8, .asciz "generic"             /* LOADER */

/* ---- code ---- */

        .text
        .globl  start
start:
        lea     page_line(%rip), %rdx
        mov     $page_line_bytes, %esi
        mov     $CONSOLEIO_WRITE, %edi
        call    hypercall_page + HYPERCALL_CONSOLE_IO * HYPERCALL_STUB_BYTES

        lea     direct_line(%rip), %rdx
        mov     $direct_line_bytes, %esi
        mov     $CONSOLEIO_WRITE, %edi
        mov     $HYPERCALL_CONSOLE_IO, %eax
        syscall

        push    $SHUTDOWN_POWEROFF              /* struct sched_shutdown { unsigned int reason; } */
        mov     %rsp, %rsi
        mov     $SCHEDOP_SHUTDOWN, %edi
        mov     $HYPERCALL_SCHED_OP, %eax
        syscall
        ud2                                     /* a domain that was shut down does not come back */

        .section .rodata, "a"
page_line:
        .ascii  "hello from a PV64 guest, through the hypercall page\n"
        .set    page_line_bytes, . - page_line
direct_line:
        .ascii  "hello from a PV64 guest, by syscall\n"
        .set    direct_line_bytes, . - direct_line

/* The hypervisor writes one stub of 32 bytes for each hypercall here before it starts the guest. */
        .section .hypercall_page, "ax"
        .balign 4096
hypercall_page:
        .fill   4096, 1, 0xcc

        .section .note.GNU-stack, "", @progbits
