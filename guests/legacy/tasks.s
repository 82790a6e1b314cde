# Hardware task switches: JMP, CALL and IRET, task gates, a double fault's task, a 16-bit task.
.include "common.inc"
.text

# TSS at EDI: EIP EAX, ESP EBX
.macro fill_tss
  mov ecx, 26
  push edi
  push eax
  xor eax, eax
  rep stosd
  pop eax
  pop edi
  mov [edi + 0x20], eax
  mov dword ptr [edi + 0x24], 2
  mov [edi + 0x38], ebx
  mov word ptr [edi + 0x48], DATA0
  mov word ptr [edi + 0x4c], CODE0
  mov word ptr [edi + 0x50], DATA0
  mov word ptr [edi + 0x54], DATA0
  mov word ptr [edi + 0x66], 0x68
.endm

.macro tss_descriptor selector, tss, access, limit=0x67
  mov edi, \selector
  mov eax, offset \tss
  mov ecx, \limit
  mov edx, \access
  call put_descriptor
.endm

show_task:
  str eax
  show eax
  pushfd
  pop eax
  and eax, 0x4000
  show eax
  mov eax, cr0
  and eax, 8
  show eax
  mov al, [gdt + TSS_MAIN + 5]
  movzx eax, al
  show eax
  mov al, [gdt + TSS_OTHER + 5]
  movzx eax, al
  show eax
  newline
  clts
  ret

.global test_tasks
test_tasks:
  say "tasks\n"
  tss_descriptor TSS_OTHER, tss_other, 0x89
  tss_descriptor TSS_DOUBLE, tss_double, 0x89
  mov edi, offset tss_other
  mov eax, offset other_entry
  mov ebx, 0x60000
  fill_tss
  mov edi, offset tss_double
  mov eax, offset double_entry
  mov ebx, 0x68000
  fill_tss
  call show_task
  # CALL and back by IRET
  mov ecx, 0x1234
  .byte 0x9a
  .long 0
  .word TSS_OTHER
  show ecx
  call show_task
  # once more: the task goes on behind its IRET
  .byte 0x9a
  .long 0
  .word TSS_OTHER
  call show_task
  # JMP there and back
  .byte 0xea
  .long 0
  .word TSS_OTHER
  call show_task
  # a busy task
  try 1f
  .byte 0x9a
  .long 0
  .word TSS_MAIN
1: try 1f
  .byte 0xea
  .long 0
  .word TSS_MAIN
1: # a gate
  mov word ptr [gdt + TASK_GATE + 2], TSS_OTHER
  mov dword ptr [gdt + TASK_GATE + 4], 0x0000e500
  .byte 0x9a
  .long 0
  .word TASK_GATE
  call show_task
  # an interrupt through a task gate
  mov dword ptr [idt + 0x35 * 8], TSS_OTHER << 16
  mov dword ptr [idt + 0x35 * 8 + 4], 0x0000e500
  int 0x35
  call show_task
  # NT set, back link to a task that is not busy
  try 1f
  mov word ptr [tss_main], TSS_OTHER
  pushfd
  or dword ptr [esp], 0x4000
  popfd
  iretd
1: mov word ptr [tss_main], TSS_MAIN
  try 1f
  pushfd
  or dword ptr [esp], 0x4000
  popfd
  iretd
1: pushfd
  and dword ptr [esp], ~0x4000
  popfd
  # the double fault's task
  try double_back
  mov dword ptr [idt + 8 * 8], TSS_DOUBLE << 16
  mov dword ptr [idt + 8 * 8 + 4], 0x00008500
  mov dword ptr [idt + 13 * 8 + 4], 0
  mov dword ptr [idt + 11 * 8 + 4], 0
  mov eax, 0x1f8
  mov ebx, 0xb0b
  mov [double_stack], esp
double_faults:
  mov ds, ax
double_back:
  mov esp, [double_stack]
  call reset_tables
  # the task register is still the double fault's: go on in the main task by its descriptor
  str eax
  show eax
  newline
  tss_descriptor TSS_OTHER, tss_other, 0x89
  tss_descriptor TSS_MAIN, tss_main, 0x89, 0x468
  # too short a TSS
  mov ax, TSS_MAIN
  ltr ax
  tss_descriptor TSS_DOUBLE, tss_double, 0x89
  mov word ptr [gdt + TSS_DOUBLE], 0x66
  try 1f
  .byte 0xea
  .long 0
  .word TSS_DOUBLE
1: # an absent one
  tss_descriptor TSS_DOUBLE, tss_double, 0x09
  try 1f
  .byte 0xea
  .long 0
  .word TSS_DOUBLE
1:
  # a 16-bit task: code below 64 KiB
  tss_descriptor TSS_OLD, tss_old, 0x81
  mov edi, offset tss_old
  mov ecx, 0x2c / 4
  xor eax, eax
  rep stosd
  mov word ptr [tss_old + 0x0e], offset old_entry
  mov word ptr [tss_old + 0x10], 2
  mov word ptr [tss_old + 0x12], 0x7777
  mov word ptr [tss_old + 0x1a], 0x6000
  mov word ptr [tss_old + 0x22], DATA0
  mov word ptr [tss_old + 0x24], CODE0
  mov word ptr [tss_old + 0x26], DATA0
  mov word ptr [tss_old + 0x28], DATA0
  .byte 0x9a
  .long 0
  .word TSS_OLD
  mov eax, [tss_old + 0x12]
  show eax
  call show_task
  # leave TR at the main task
  mov byte ptr [gdt + TSS_MAIN + 5], 0x89
  mov ax, TSS_MAIN
  ltr ax
  clts
  ret

other_entry:
  say "  other"
  show esp
  movzx eax, word ptr [tss_other]
  show eax
  call show_task
  iretd
  say "  again"
  call show_task
  iretd
  # entered by JMP: its own jump back
  say "  jumped"
  call show_task
  .byte 0xea
  .long 0
  .word TSS_MAIN
  say "  gate"
  call show_task
  iretd
  say "  interrupt"
  call show_task
  iretd

double_entry:
  pop ecx
  say "  double fault"
  show ecx
  show [tss_main + 0x20]
  show [tss_main + 0x34]
  movzx eax, word ptr [tss_double]
  show eax
  call show_task
  jmp [recover]

.data
.balign 16
tss_other: .fill 0x68, 1, 0
.balign 16
tss_double: .fill 0x68, 1, 0
.balign 16
tss_old: .fill 0x2c, 1, 0
double_stack: .long 0

.section .low, "ax"
.code32
old_entry:
  inc eax
  .byte 0xcf
