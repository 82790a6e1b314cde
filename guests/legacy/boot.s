# Multiboot header, entry, tables, printing, exception handlers.
.include "common.inc"

.section .header, "ax"
.set MAGIC, 0x1badb002
.set FLAGS, 0x00010000
  .long MAGIC, FLAGS, -(MAGIC + FLAGS)
  .long header, header, image_end, 0, start
.global header
.set header, 0x100000

.text
.global start
start:
  cli
  cld
  mov esp, STACK_TOP
  # no interrupts from outside
  mov al, 0xff
  out 0x21, al
  out 0xa1, al
  mov esi, offset low_image
  mov edi, offset low_start
  mov ecx, offset low_end
  sub ecx, edi
  rep movsb
  mov edi, TSS_MAIN
  mov eax, offset tss_main
  mov ecx, tss_main_end - tss_main - 1
  mov edx, 0x89
  call put_descriptor
  call reset_tables
  mov ax, TSS_MAIN
  ltr ax
  call test_selectors
  call test_privilege
  call test_tasks
  call test_virtual8086
  call test_real
  call test_paging
  call test_long
  say "done\n"
  mov al, 0x31
  out 0xf4, al
1: hlt
  jmp 1b

# The flat segments and the interrupt table again, whatever a test has left.
.global reset_tables
reset_tables:
  call fill_idt
  lgdt [gdt_pointer]
  lidt [idt_pointer]
  push CODE0
  push offset 1f
  retf
1:
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  mov ss, eax
  xor eax, eax
  mov fs, eax
  mov gs, eax
  ret

# Exceptions 0-31, and interrupt 30 for all levels.
fill_idt:
  mov edi, offset idt
  mov eax, offset stubs
  mov ecx, 32
1: mov ebx, 0x8e00
  call put_gate
  add eax, 16
  loop 1b
  mov edi, offset idt + 0x30 * 8
  mov eax, offset show_frame
  mov ebx, 0xee00
  call put_gate
  ret
# At EDI: a gate to CODE0:EAX with attributes BX.
.global put_gate
put_gate:
  mov [edi], ax
  mov word ptr [edi + 2], CODE0
  mov [edi + 4], bx
  push eax
  shr eax, 16
  mov [edi + 6], ax
  pop eax
  add edi, 8
  ret

# GDT entry at selector EDI: base EAX, limit CX, access DX as in bits 8-23 of the second word.
.global put_descriptor
put_descriptor:
  push eax
  add edi, offset gdt
  mov [edi], cx
  mov [edi + 2], ax
  shr eax, 16
  mov [edi + 4], al
  mov [edi + 5], dl
  mov [edi + 7], ah
  mov [edi + 6], dh
  pop eax
  ret

# ---- printing: port E9 ----
.global puts
puts:
  push eax
1: mov al, cs:[esi]
  inc esi
  test al, al
  jz 2f
  out 0xe9, al
  jmp 1b
2: pop eax
  ret

.global hex32
hex32:
  push ecx
  push eax
  mov ecx, eax
  mov al, ' '
  out 0xe9, al
  push edx
  mov edx, 8
1: rol ecx, 4
  mov al, cl
  and al, 15
  add al, '0'
  cmp al, '9'
  jbe 2f
  add al, 'a' - '0' - 10
2: out 0xe9, al
  dec edx
  jnz 1b
  pop edx
  pop eax
  pop ecx
  ret

# ---- exceptions: print vector, error code, CS:EIP and what matters beside them, and go on at `recover` ----
.balign 16
stubs:
.set vector, 0
.rept 32
  .balign 16
  .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
  .else
  push 0
  .endif
  push vector
  jmp common
  .set vector, vector + 1
.endr

.global common
common:
  push eax
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  pop eax
  # A reserved bit is in an entry that is present (SDM vol. 3A, 4.7): QEMU 7 leaves bit 0 out.
  cmp dword ptr [esp], 14
  jne 1f
  test dword ptr [esp + 4], 8
  jz 1f
  or dword ptr [esp + 4], 1
1:
  say "  exception"
  show [esp + 8]
  say " code"
  show [esp + 12]
  say " at"
  show [esp + 20]
  show [esp + 16]
  newline
  mov esp, [recover_esp]
  mov eax, DATA0
  mov ss, eax
  jmp [recover]

# INT 30: what the frame holds, and back.
.global show_frame
show_frame:
  push ds
  push eax
  mov eax, DATA0
  mov ds, eax
  say "  frame"
  show [esp + 16]
  show [esp + 20]
  show [esp + 24]
  newline
  pop eax
  pop ds
  iretd

.data
.balign 16
.global recover, recover_esp
recover: .long 0
recover_esp: .long 0

.balign 16
.global tss_main
tss_main:
  .long 0, STACK0_TOP, DATA0, STACK1_TOP, DATA1, 0, 0
  .fill 0x66 - 28, 1, 0
  .word 0x68
  # All ports may be used, but those from 80 to 87.
  .fill 16, 1, 0
  .byte 0xff
  .fill 31, 1, 0
  .fill 0x400 - 48, 1, 0
  .byte 0xff
tss_main_end:

# descriptor base, limit, access (as in the second word's bits 8-23)
.macro descriptor base, limit, access
  .word (\limit) & 0xffff
  .word (\base) & 0xffff
  .byte ((\base) >> 16) & 0xff
  .byte (\access) & 0xff
  .byte (((\access) >> 8) & 0xf0) | (((\limit) >> 16) & 0x0f)
  .byte ((\base) >> 24) & 0xff
.endm

.balign 16
.global gdt
gdt:
  .quad 0
  descriptor 0, 0xfffff, 0xc09b
  descriptor 0, 0xfffff, 0xc093
  descriptor 0, 0xfffff, 0xc0fb
  descriptor 0, 0xfffff, 0xc0f3
  descriptor 0, 0xffff, 0x009b
  descriptor 0, 0xffff, 0x0093
  .quad 0, 0, 0, 0, 0          # TSSs and LDT: filled in below
  .quad 0, 0, 0                # gates
  descriptor 0, 0xfffff, 0xc09f
  descriptor 0, 0xfffff, 0xa09b
  descriptor 0x60000, 0xffff, 0x0093
  descriptor 0, 0xfffff, 0xc0bb
  descriptor 0, 0xfffff, 0xc0b3
  descriptor 0, 0xfffff, 0xc013
  descriptor 0, 0xfffff, 0xc091
  descriptor 0, 0xfffff, 0xc099
  .quad 0
gdt_end:
gdt_pointer: .word gdt_end - gdt - 1
  .long gdt

.balign 16
.global idt
idt: .fill 256, 8, 0
.global idt_pointer
idt_pointer: .word 256 * 8 - 1
  .long idt
