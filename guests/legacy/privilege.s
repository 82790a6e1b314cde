# Inner and outer levels: interrupts, call gates, IOPL and the I/O bitmap, SYSENTER, conforming code, 16-bit gates.
.include "common.inc"
.text

# Run the code after the call at level 3; it comes back through INT 31.
.macro enter3 flags
  try 9f
  push DATA3
  push STACK3_TOP
  push \flags
  push CODE3
  push offset 8f
  iretd
8:
  mov ax, DATA3
  mov ds, ax
  mov es, ax
.endm
.macro leave3
  int 0x31
9:
.endm

back:
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  mov esp, [recover_esp]
  jmp [recover]

.global test_privilege
test_privilege:
  say "privilege\n"
  mov edi, offset idt + 0x31 * 8
  mov eax, offset back
  mov ebx, 0xee00
  call put_gate
  mov eax, 0xef00            # 32: a trap gate
  mov ebx, eax
  mov eax, offset show_frame
  call put_gate
  # 33: a gate that level 3 may not use
  mov ebx, 0x8e00
  call put_gate
  # 34: a 16-bit interrupt gate, to 16-bit code
  mov edi, offset idt + 0x34 * 8
  mov eax, offset small_handler
  mov ebx, 0xe600
  call put_gate
  mov word ptr [idt + 0x34 * 8 + 2], CODE16
  # call gates: 32 bits with two parameters; 16 bits with one
  mov word ptr [gdt + GATE32 + 2], CODE0
  mov eax, offset gate_target
  mov [gdt + GATE32], ax
  shr eax, 16
  mov [gdt + GATE32 + 6], ax
  mov word ptr [gdt + GATE32 + 4], 0xec02
  mov word ptr [gdt + GATE16 + 2], CODE16
  mov word ptr [gdt + GATE16], offset small_gate
  mov word ptr [gdt + GATE16 + 4], 0xe401
  # a gate to level 1 code: no inward way from level 0
  mov word ptr [gdt + BAD_GATE + 2], 0x90
  mov word ptr [gdt + BAD_GATE + 4], 0xec00

  # all flags are defined
  cmp eax, eax
  int 0x30
  enter3 0x202
  mov eax, cs
  show eax
  show esp
  int 0x30
  int 0x32
  pushfd
  pop eax
  show eax
  newline
  leave3
  enter3 0x202
  int 0x33
  leave3
  enter3 0x202
  cli
  leave3
  enter3 0x3202
  cli
  pushfd
  pop eax
  show eax
  sti
  newline
  leave3
  # POPF at level 3 leaves IF and IOPL alone
  enter3 0x202
  push 0x3002
  popfd
  pushfd
  pop eax
  show eax
  newline
  leave3
  enter3 0x202
  hlt
  leave3
  enter3 0x202
  mov eax, cr0
  leave3
  enter3 0x202
  mov ax, DATA0
  mov ds, ax
  leave3
  # ports by bitmap
  enter3 0x202
  mov dx, 0x7f
  in al, dx
  say "  port allowed\n"
  mov dx, 0x80
  in al, dx
  leave3
  enter3 0x202
  mov dx, 0x7e
  in eax, dx
  leave3
  enter3 0x202
  mov dx, 0x2000
  in al, dx
  leave3
  # call gates
  enter3 0x202
  push 0x11111111
  push 0x22222222
  mov ebx, esp
  .byte 0x9a
  .long 0
  .word GATE32 | 3
  sub ebx, esp
  show ebx
  mov eax, cs
  show eax
  newline
  leave3
  enter3 0x202
  .byte 0xea
  .long 0
  .word GATE32 | 3
  leave3
  try 1f
  .byte 0x9a
  .long 0
  .word BAD_GATE
1: try 1f
  .byte 0x9a
  .long 0
  .word 0x1f8
1: try 1f
  .byte 0xea
  .long 0
  .word DATA0
1: try 1f
  .byte 0xea
  .long 0
  .word CODE3
1:
  # the same level through the gate: no parameters are copied
  push 0x33333333
  push 0x44444444
  .byte 0x9a
  .long 0
  .word GATE32
  newline
  # 16-bit gate from level 3
  try 9f
  push DATA3
  push STACK3_TOP
  push 0x202
  push CODE3
  push offset low_gate
  iretd
9:
  # 16-bit interrupt gate, same level and from level 3 (its frame has 16 bits: below 64 KiB only)
  mov eax, offset low_int
  call eax
  # conforming code from level 3 stays at level 3
  enter3 0x202
  .byte 0x9a
  .long conforming_code
  .word CONFORMING
  newline
  leave3
  # level 3 may not return inward
  enter3 0x202
  push CODE0
  push offset 9f
  retf
  leave3
  # return outward with parameters released; then data segments are dropped
  try 9f
  mov eax, DATA0
  mov fs, eax
  mov eax, DATA3
  mov gs, eax
  push DATA3
  push STACK3_TOP - 0x100
  push 0x55555555
  push CODE3
  push offset 1f
  retf 4
1: mov ax, DATA3
  mov ds, ax
  mov es, ax
  mov eax, fs
  show eax
  mov eax, gs
  show eax
  show esp
  newline
  leave3
  # to level 1 and in again
  try 9f
  push DATA1
  push STACK1_TOP
  push 0x1202
  push CODE1
  push offset 1f
  iretd
1: mov ax, DATA3
  mov ds, ax
  mov es, ax
  mov eax, cs
  show eax
  cli
  int 0x30
  leave3
  # bad returns
  .irp ss, 0, DATA0, CODE3, READ_ONLY
  try 1f
  push \ss
  push STACK3_TOP
  push 0x202
  push CODE3
  push 0
  iretd
1:
  .endr
  try 1f
  push 0x202
  push DATA0
  push 0
  iretd
1: try 1f
  push 0x202
  push 0
  push 0
  iretd
1:
  # SYSENTER, SYSEXIT
  mov ecx, 0x174
  xor edx, edx
  xor eax, eax
  wrmsr
  try 1f
  sysenter
1: mov ecx, 0x174
  mov eax, CODE0
  wrmsr
  mov ecx, 0x175
  mov eax, STACK0_TOP
  wrmsr
  mov ecx, 0x176
  mov eax, offset sysenter_target
  wrmsr
  enter3 0x202
  mov ecx, esp
  mov edx, offset 1f
  sysenter
1: show esp
  mov eax, cs
  show eax
  mov eax, ss
  show eax
  newline
  leave3
  enter3 0x202
  sysexit
  leave3
  ret

sysenter_target:
  show esp
  mov eax, cs
  show eax
  mov eax, ss
  show eax
  pushfd
  pop eax
  and eax, 0x200
  show eax
  sti
  sysexit

# parameters at esp + 8
gate_target:
  push ds
  push eax
  mov eax, DATA0
  mov ds, eax
  say "  gate"
  show [esp + 24]
  show [esp + 28]
  show [esp + 20]
  mov eax, cs
  show eax
  mov eax, ss
  show eax
  show esp
  pop eax
  pop ds
  retf 8

conforming_code:
  mov eax, cs
  show eax
  retf

.section .low, "ax"
.code16
small_handler:
  push ax
  mov al, 'h'
  out 0xe9, al
  pop ax
  iretw
small_gate:
  push bp
  mov bp, sp
  mov ax, [bp + 6]
  pop bp
  push eax
  mov al, 'g'
  out 0xe9, al
  pop eax
  retf 2
.code32
# at level 3; the 16-bit gate has to return below 64 KiB
low_gate:
  mov ax, DATA3
  mov ds, ax
  pushw 0x5555
  .byte 0x9a
  .long 0
  .word GATE16 | 3
  show esp
  newline
  int 0x31
# called from flat code; INT 34 has to return below 64 KiB
low_int:
  int 0x34
  pushfd
  pop eax
  show eax
  newline
  ret
