/*
 * A 32-bit kernel that finds out what it runs on as Linux 2.6.20 to 2.6.23 did: linked at PAGE_OFFSET, entered at its
 * physical address. Not in ring 0, or with paging on, it calls a table of probe functions in link order, with no IDT; the
 * last resort is start_kernel. What it finds goes to the serial port. With "fault" at the start of its command line it
 * ends in an undefined instruction, otherwise by resetting the machine.
 */
#define PAGE_OFFSET     0xc0000000
#define UART            0x3f8
#define SYSTEM_CONTROL  0x92
#define BACKDOOR_PORT   0x5658
#define BACKDOOR_MAGIC  0x564d5868
#define CMDLINE_POINTER 0x228           /* in the zero page, whose address is in ESI */
#define DESCRIPTOR_LEAF 0x4000ff00

        .section .probes, "a"
probes_begin:

        .macro  PROBE name
        .section .probes, "a"
        .long   \name
        .text
\name:
        .endm

        .text
        .globl  startup_32
startup_32:
        mov     %cs, %eax
        test    $3, %al
        jnz     startup_paravirt
        mov     %cr0, %eax
        test    %eax, %eax
        js      startup_paravirt
        mov     $stack_end - PAGE_OFFSET, %esp
        mov     $native - PAGE_OFFSET, %ebx
        call    print
        jmp     reset

startup_paravirt:
        cld
        mov     $stack_end, %esp
        mov     $probes_begin, %edi
next:   cmp     $probes_end, %edi
        je      none
        call    *(%edi)
        add     $4, %edi
        jmp     next
none:   ud2

PROBE   probe_cpuid
        mov     $cpuid_line, %ebx
        call    print
        mov     $0x40000000, %eax
        jmp     signature

PROBE   probe_forced_emulation
        mov     $forced_line, %ebx
        call    print
        mov     $DESCRIPTOR_LEAF, %eax
        ud2
        .ascii  "pvm"
        cpuid
        jmp     word

PROBE   probe_port
        mov     $port_line, %ebx
        call    print
        mov     $BACKDOOR_MAGIC, %eax
        mov     $10, %ecx
        mov     $BACKDOOR_PORT, %edx
        in      %dx, %eax
        jmp     word

PROBE   start_kernel
        mov     $start_line, %ebx
        call    print
        mov     CMDLINE_POINTER(%esi), %eax
        cmpl    $0x6c756166, (%eax)     /* "faul" */
        jne     reset
        .globl  early_fault
early_fault:
        ud2

reset:  mov     $1, %al
        out     %al, $SYSTEM_CONTROL
        jmp     reset

/* The twelve letters of a leaf's EBX, ECX, EDX; a dot for each byte that is no letter or digit. */
signature:
        cpuid
        push    %edx
        push    %ecx
        push    %ebx
        mov     $12, %ecx
        mov     %esp, %ebp
letter: mov     (%ebp), %al
        inc     %ebp
        cmp     $'0', %al
        jb      dot
        cmp     $'z', %al
        jbe     1f
dot:    mov     $'.', %al
1:      call    putchar
        loop    letter
        add     $12, %esp
        jmp     newline

/* EAX in hexadecimal. */
word:   mov     %eax, %ebp
        mov     $8, %ecx
1:      rol     $4, %ebp
        mov     %ebp, %eax
        and     $15, %al
        add     $'0', %al
        cmp     $'9', %al
        jbe     2f
        add     $'a' - '9' - 1, %al
2:      call    putchar
        loop    1b
newline:
        mov     $'\n', %al
putchar:
        mov     $UART, %dx
        out     %al, %dx
        ret

print:  mov     (%ebx), %al
        inc     %ebx
        test    %al, %al
        jz      1f
        call    putchar
        jmp     print
1:      ret

native:         .asciz  "in ring 0 without paging: native\n"
cpuid_line:     .asciz  "probe: cpuid, "
forced_line:    .asciz  "probe: forced emulation, "
port_line:      .asciz  "probe: port, "
start_line:     .asciz  "probe: start_kernel, the last resort\n"

        .section .probes, "a"
probes_end:

        .bss
        .skip   4096
stack_end:

        .section .note.GNU-stack, "", @progbits
