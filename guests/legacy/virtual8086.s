# Virtual-8086 mode: entry by IRET, faults and interrupts out of it, IOPL.
.include "common.inc"
.text

# Run 16-bit code at 0:\code with flags \flags until INT3, which needs no IOPL.
.macro in8086 code, flags
  try 1f
  push 0x4444
  push 0x5555
  push 0x1000
  push 0x2000
  push 0
  push 0x7f00
  push 0x20002 | \flags
  push 0
  push offset \code
  iretd
1: newline
.endm

.global test_virtual8086
test_virtual8086:
  say "virtual-8086\n"
  mov edi, offset idt + 3 * 8
  mov eax, offset back8086
  mov ebx, 0xee00
  call put_gate
  mov edi, offset idt + 0x36 * 8
  mov eax, offset frame8086
  call put_gate
  mov edi, offset idt + 13 * 8
  mov eax, offset fault8086
  mov ebx, 0x8e00
  call put_gate
  mov edi, offset idt + 6 * 8
  mov eax, offset undefined8086
  call put_gate
  in8086 v86_plain, 0x3000
  in8086 v86_sensitive, 0x0
  in8086 v86_sensitive, 0x3000
  in8086 v86_undefined, 0x3000
  call reset_tables
  ret

back8086:
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  mov esp, [recover_esp]
  jmp [recover]

# INT 36: EIP CS EFLAGS ESP SS ES DS FS GS
frame8086:
  push eax
  mov eax, ds
  push eax
  mov eax, DATA0
  mov ds, eax
  say "  frame"
  .irp at, 16, 20, 24, 28, 32, 36, 40, 44, 48
  show [esp + \at]
  .endr
  pop eax
  show eax
  newline
  mov eax, es
  show eax
  mov eax, fs
  show eax
  newline
  pop eax
  iretd

# #GP: error code, then the frame. Skip the instruction, whose length is in the byte before it.
fault8086:
  push eax
  push ebx
  mov eax, DATA0
  mov ds, eax
  say "  #GP"
  show [esp + 16]
  show [esp + 20]
  # without RF, which QEMU 7 leaves out of the frames of faults
  mov ebx, [esp + 20]
  and ebx, ~0x10000
  show ebx
  newline
  mov eax, [esp + 12]
  movzx ebx, byte ptr [eax - 1]
  add [esp + 12], ebx
  pop ebx
  pop eax
  add esp, 4
  iretd
undefined8086:
  push eax
  push ebx
  mov eax, DATA0
  mov ds, eax
  say "  #UD"
  show [esp + 16]
  newline
  mov eax, [esp + 8]
  movzx ebx, byte ptr [eax - 1]
  add [esp + 8], ebx
  pop ebx
  pop eax
  iretd

.section .low, "ax"
.code16
# an instruction behind its own length
.macro skippable length, instruction:vararg
  jmp 7f
  .byte \length
7: \instruction
.endm

v86_plain:
  int 0x36
  mov ax, 0x1234
  mov ds, ax
  mov ax, 0x2345
  mov es, ax
  mov word ptr ds:[0x10], 0xbeef
  mov eax, dword ptr ds:[0x10]
  int 0x36
  pushf
  pop ax
  out 0xe9, al
  push ds
  pop fs
  .byte 0x9a
  .word v86_far, 0
  int3

v86_sensitive:
  skippable 1, cli
  skippable 1, sti
  skippable 1, pushf
  skippable 2, int 0x36
  mov al, '1'
  skippable 2, out 0xe9, al
  mov al, '2'
  mov dx, 0x80
  skippable 1, out dx, al
  skippable 3, mov eax, cr0
  skippable 1, hlt
  skippable 2, clts
  int3

v86_undefined:
  skippable 3, sldt ax
  skippable 3, str ax
  skippable 3, lldt ax
  skippable 3, ltr ax
  skippable 3, lar ax, bx
  skippable 3, lsl ax, bx
  skippable 3, verr ax
  skippable 2, .byte 0x63, 0xc0
  int3

v86_far:
  int 0x36
  retf
.code32
