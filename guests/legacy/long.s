# Into IA-32e mode and out of it.
.include "common.inc"
.set PML4, TABLES + 0x8000
.set PDPT, TABLES + 0x9000
.text

show_state:
  mov ecx, 0xc0000080
  rdmsr
  show eax
  mov eax, cr0
  show eax
  mov eax, cr4
  show eax
  newline
  ret

.global test_long
test_long:
  say "long mode\n"
  mov edi, PML4
  mov ecx, 2048
  xor eax, eax
  rep stosd
  mov dword ptr [PML4], PDPT + 3
  mov dword ptr [PDPT], TABLES + 0xa003
  mov edi, TABLES + 0xa000
  mov eax, 0x83
  mov ecx, 512
1: stosd
  mov dword ptr [edi], 0
  add edi, 4
  add eax, 0x200000
  loop 1b
  call show_state
  mov ecx, 0xc0000080
  mov eax, 0x100
  xor edx, edx
  wrmsr
  mov eax, PML4
  mov cr3, eax
mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  mov [long_esp], esp
  # compatibility mode
  mov eax, 0x12345678
  inc eax
  show eax
  call show_state
  .byte 0xea
  .long wide
  .word CODE64
.code64
wide:
  mov rax, 0x123456789abcdef0
  mov r8, rax
  shr r8, 32
  mov r9d, eax
  lea rbx, [rip]
  mov r10, cs
  mov rsp, STACK0_TOP
  push r9
  push CODE0
  lea rax, narrow[rip]
  push rax
  rex.w retf
.code32
narrow:
  # 64-bit registers have kept what fits
  mov eax, cs
  show eax
  pop eax
  show eax
  mov esp, [long_esp]
  call show_state
  # out, by way of paging off
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  call show_state
  mov eax, 0x1000
  mov ecx, 0xc0000080
  xor eax, eax
  xor edx, edx
  wrmsr
  mov eax, cr4
  and eax, ~0x20
  mov cr4, eax
  call show_state
  # and in again
  mov ecx, 0xc0000080
  mov eax, 0x100
  wrmsr
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  say "  in\n"
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  mov ecx, 0xc0000080
  xor eax, eax
  xor edx, edx
  wrmsr
  mov eax, cr4
  and eax, ~0x20
  mov cr4, eax
  call show_state
  ret

.data
long_esp: .long 0
