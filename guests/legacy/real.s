# Real-address mode and back, with and without limits of 64 KiB.
.include "common.inc"
.set VECTORS, 0x5000
.text
.global test_real
test_real:
  say "real mode\n"
  mov [real_esp], esp
  # vectors: all lead to one handler for each of 256, of 4 bytes
  mov edi, VECTORS
  mov eax, offset real_handlers
  mov ecx, 256
1: mov [edi], eax
  add edi, 4
  loop 1b
  mov dword ptr [VECTORS + 0x40 * 4], offset real_int40
  mov dword ptr [VECTORS + 6 * 4], offset real_undefined
  mov dword ptr [VECTORS + 0], offset real_divide
  # DS keeps 4 GiB, the others get 64 KiB
  mov eax, DATA16
  mov es, eax
  mov ss, eax
  mov esp, 0x7000
  mov fs, eax
  mov gs, eax
  .byte 0xea
  .long real_enter
  .word CODE16

.global real_done
real_done:
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  mov ss, eax
  mov esp, [real_esp]
  call reset_tables
  newline
  ret

.data
real_esp: .long 0

.section .low, "ax"
.code16
real_enter:
  lidtw [real_idt]
  mov eax, cr0
  and al, 0xfe
  mov cr0, eax
  .byte 0xea
  .word real_start, 0
real_idt: .word 0x3ff
  .long VECTORS

hex16:
  push cx
  push dx
  push ax
  mov dx, ax
  mov al, ' '
  out 0xe9, al
  mov cx, 4
1: rol dx, 4
  mov al, dl
  and al, 15
  add al, '0'
  cmp al, '9'
  jbe 2f
  add al, 'a' - '0' - 10
2: out 0xe9, al
  loop 1b
  pop ax
  pop dx
  pop cx
  ret
line:
  push ax
  mov al, 10
  out 0xe9, al
  pop ax
  ret

real_start:
  xor ax, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7000
  # DS has not been loaded: 4 GiB from 0
  mov ebx, 0x300000
  mov dword ptr [ebx], 0x89abcdef
  mov eax, [ebx]
  call hex16
  mov ax, 0x1000
  mov ds, ax
  mov eax, [ebx - 0x10000]
  call hex16
  xor ax, ax
  mov ds, ax
  mov ax, cs
  call hex16
  smsw ax
  call hex16
  call line
  # interrupts
  sti
  int 0x40
  call hex16
  pushf
  pop ax
  call hex16
  cli
  mov ax, sp
  call hex16
  call line
  # far calls, with segments
  .byte 0x9a
  .word real_far - 0x7000, 0x700
  call hex16
  push cs
  call near_far
  mov ax, sp
  call hex16
  .byte 0x66, 0x9a
  .long real_far32
  .word 0
  call hex16
  call line
  # CS can be written through
  mov word ptr cs:[real_word], 0x1357
  mov ax, [real_word]
  call hex16
  # offsets and string operations wrap at 64 KiB
  mov bx, 0xfff0
  mov si, 0x4020
  mov word ptr ds:[0x4010], 0x2468
  mov ax, [bx + si]
  call hex16
  mov ax, 0x2000
  mov es, ax
  mov di, 0xfffe
  mov cx, 4
  mov al, 0x5a
  cld
  rep stosb
  mov ax, di
  call hex16
  mov ax, es:[0]
  call hex16
  mov ax, es:[0xfffe]
  call hex16
  # 32-bit instructions
  mov eax, 0x12345678
  push eax
  pop cx
  pop dx
  mov ax, cx
  call hex16
  mov ax, dx
  call hex16
  pushad
  mov ax, sp
  popad
  call hex16
  call line
  # no descriptors here
  sldt ax
  .byte 0x90
  str ax
  .byte 0x90
  lar ax, bx
  .byte 0x90
  verr ax
  .byte 0x90
  lldt ax
  .byte 0x90
  ltr ax
  .byte 0x90
  call line
  # a division: the address of the instruction is pushed
  xor cx, cx
  mov bp, offset divide
divide:
  div cx
  call line
  # LOOP and JCXZ by address size; BOUND; ENTER, LEAVE; LES, LSS
  mov ecx, 0x10003
  xor ax, ax
1: inc ax
  loop 1b
  call hex16
  jcxz 1f
  call hex16
1: jecxz 1f
  call hex16
1: mov ax, sp
  enter 8, 1
  mov bx, sp
  sub ax, bx
  leave
  call hex16
  les bx, [real_pointer]
  mov ax, es
  call hex16
  mov ax, bx
  call hex16
  lss sp, [real_stack]
  push 0x4321
  mov ax, sp
  call hex16
  mov ax, ss
  call hex16
  xor ax, ax
  mov ss, ax
  mov sp, 0x7000
  addr32 mov ax, ds:[0x11ffe]
  call hex16
  call line
  # iret with 32-bit operands
  pushfd
  pushd 0
  pushd offset 1f
  iretd
1: mov ax, sp
  call hex16
  # back to protected mode
  lgdtd [real_gdt]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  .byte 0x66, 0xea
  .long real_done
  .word CODE0

real_gdt: .word 0xbf
  .long gdt
real_word: .word 0
real_pointer: .word 0x1111, 0x2222
real_stack: .word 0x2000, 0x1000

real_far:
  mov ax, cs
  retf
real_far32:
  mov ax, sp
  retfd
near_far:
  retf

.balign 4
real_handlers:
  mov al, 'X'
  out 0xe9, al
  hlt
  jmp real_handlers
real_int40:
  push bp
  mov bp, sp
  mov ax, [bp + 6]
  call hex16
  pushf
  pop ax
  pop bp
  iret
real_undefined:
  push ax
  mov al, 'u'
  out 0xe9, al
  pop ax
  push bp
  mov bp, sp
  add word ptr [bp + 2], 3
  pop bp
  iret
real_divide:
  push bp
  mov bp, sp
  push ax
  mov ax, [bp + 2]
  sub ax, offset divide
  call hex16
  pop ax
  add word ptr [bp + 2], 2
  pop bp
  iret
.code32
