# Descriptor loads and their faults, LAR, LSL, VERR, VERW, ARPL, the stack's width.
.include "common.inc"
.text

.macro load register, selector
  try 9f
  mov eax, \selector
  mov \register, ax
  say "  loaded"
9: show \selector
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  newline
.endm

.macro examine selector
  mov ebx, \selector
  say "  examine"
  show ebx
  mov eax, 0x5a5a5a5a
  lar eax, ebx
  call show_zf
  show eax
  mov eax, 0x5a5a5a5a
  lsl eax, ebx
  call show_zf
  show eax
  verr bx
  call show_zf
  verw bx
  call show_zf
  newline
.endm

show_zf:
  pushfd
  pushfd
  pop ecx
  shr ecx, 6
  and ecx, 1
  show ecx
  popfd
  ret

.global test_selectors
test_selectors:
  say "selectors\n"
  mov edi, LDT_SEL
  mov eax, offset ldt
  mov ecx, 15
  mov edx, 0x82
  call put_descriptor
  xor eax, eax
  lldt ax
  load es, 0
  load es, CODE0
  load es, DATA3
  load es, ABSENT
  load es, READ_ONLY
  load es, EXECUTE_ONLY
  load es, CONFORMING
  load es, TSS_MAIN
  load es, 0x200
  load es, 4
  load ss, 0
  load ss, CODE0
  load ss, DATA3
  load ss, ABSENT
  load ss, READ_ONLY
  try 1f
  mov eax, LDT_SEL
  lldt ax
  say "  LDT loaded\n"
1: load es, 4
  load es, 0xc
  load es, 0x14
  try 1f
  mov eax, DATA0
  lldt ax
1: try 1f
  mov eax, TSS_MAIN
  ltr ax
1: try 1f
  mov eax, 4
  ltr ax
1: sldt eax
  show eax
  str eax
  show eax
  newline
  examine CODE0
  examine CODE3
  examine DATA0
  examine READ_ONLY
  examine EXECUTE_ONLY
  examine CONFORMING
  examine ABSENT
  examine TSS_MAIN
  examine LDT_SEL
  examine 0xc
  examine 0
  examine 0x1f8
  xor eax, eax
  lldt ax

  # ARPL
  mov eax, 0x1230
  mov ebx, 0x2
  arpl ax, bx
  call show_zf
  show eax
  mov eax, 0x1233
  arpl ax, bx
  call show_zf
  show eax
  newline

  # far pointers
  les ebx, [pointer]
  show ebx
  mov eax, es
  show eax
  lss esi, [stack_pointer]
  mov ebx, esp
  mov eax, ss
  # Back before anything is pushed.
  mov ecx, DATA0
  mov ss, ecx
  show eax
  show esi
  newline
  try 1f
  lds eax, [bad_pointer]
1: mov eax, DATA0
  mov ds, eax
  mov es, eax

  # a stack of 64 KiB, 16-bit pointer: pushes wrap, the upper half of ESP stays
  mov ebx, esp
  mov eax, STACK16
  mov ss, eax
  mov esp, 0x12340004
  push 0x55667788
  push 0x11223344
  mov ecx, esp
  pop edx
  mov esi, esp
  mov eax, DATA0
  mov ss, eax
  mov esp, ebx
  show ecx
  show edx
  show esi
  show [0x6fffc]
  newline

  # BOUND, INTO, PUSHA, ENTER in 16 and 32 bits
  try 1f
  mov eax, 5
  bound eax, [bounds]
  say "  within\n"
  mov eax, 11
  bound eax, [bounds]
1: try 1f
  mov eax, 0x7fffffff
  inc eax
  into
1: mov eax, 1
  mov ecx, 2
  mov edx, 3
  mov ebx, 4
  mov ebp, 5
  mov esi, 6
  mov edi, 7
  mov [saved_esp], esp
  pusha
  mov eax, esp
  popa
  pushaw
  mov edi, esp
  mov eax, [esp]
  mov ecx, [esp + 12]
  popaw
  mov ecx, [saved_esp]
  sub ecx, esp
  show ecx
  show eax
  newline
  mov ebp, 0x80100
  mov [saved_esp], esp
  enter 16, 3
  mov eax, [saved_esp]
  sub eax, esp
  mov ecx, [saved_esp]
  sub ecx, ebp
  leave
  show eax
  show ecx
  newline
  # 16-bit addressing
  mov dword ptr [0x4321], 0xcafe0123
  mov ebx, 0xffff4300
  mov esi, 0xffff0021
  mov eax, [bx + si]
  show eax
  .code16
  addr32 mov eax, ds:[0x4321]
  .code32
  newline
  ret

.data
.balign 8
ldt:
  .quad 0x00cf93000000ffff
  .quad 0x00cf9b000000ffff
pointer: .long 0x12345678
  .word DATA3
stack_pointer: .long 0x7777
  .word DATA0
bad_pointer: .long 0
  .word TSS_MAIN
bounds: .long 3, 10
saved_esp: .long 0
