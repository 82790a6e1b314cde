# 32-bit and PAE paging: sizes, rights, error codes, accessed and dirty bits.
.include "common.inc"
.set PD, TABLES
.set PT, TABLES + 0x1000
.set PT2, TABLES + 0x2000
.set PDPT, TABLES + 0x3000
.set PAGES, 0x400000
.text

show_cr2:
  mov eax, cr2
  show eax
  newline
  ret

# Read and write [EBX], each with its fault; then show the entry at EDI.
probe:
  try 1f
  mov eax, [ebx]
  say "  read"
  show eax
1: try 2f
  mov dword ptr [ebx], 0x1234
  say "  written"
2: show [edi]
  call show_cr2
  xor eax, eax
  mov cr2, eax
  ret

# The same at level 3.
probe3:
  try 1f
  push DATA3
  push STACK3_TOP
  push 0x202
  push CODE3
  push offset 3f
  iretd
3: mov ax, DATA3
  mov ds, ax
  mov eax, [ebx]
  say "  read"
  show eax
  int 0x31
1: mov eax, DATA0
  mov ds, eax
  try 2f
  push DATA3
  push STACK3_TOP
  push 0x202
  push CODE3
  push offset 3f
  iretd
3: mov ax, DATA3
  mov ds, ax
  mov dword ptr [ebx], 0x1234
  say "  written"
  int 0x31
2: mov eax, DATA0
  mov ds, eax
  show [edi]
  call show_cr2
  xor eax, eax
  mov cr2, eax
  ret

.macro entry at, value
  mov dword ptr [\at], \value
  mov eax, cr3
  mov cr3, eax
.endm

.global test_paging
test_paging:
  say "32-bit paging\n"
  mov edi, offset idt + 0x31 * 8
  mov eax, offset paging_back
  mov ebx, 0xee00
  call put_gate
  # 4 MiB one to one for all levels, then a window at 4 MiB
  mov edi, PD
  mov ecx, 1024
  xor eax, eax
  rep stosd
  mov edi, PT
  mov eax, 7
  mov ecx, 1024
1: stosd
  add eax, 0x1000
  loop 1b
  mov edi, PT2
  mov ecx, 1024
  xor eax, eax
  rep stosd
  mov dword ptr [PD], PT + 7
  mov dword ptr [PD + 4], PT2 + 7
  mov eax, PD
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80000000
  mov cr0, eax
  jmp 1f
1: mov dword ptr [SCRATCH], 0xabcd
  mov ebx, PAGES + 0x1010
  mov edi, PT2 + 4
  call probe
  entry PT2 + 4, SCRATCH + 1
  call probe
  call probe3
  mov eax, cr0
  or eax, 0x10000
  mov cr0, eax
  call probe
  entry PT2 + 4, SCRATCH + 3
  call probe
  call probe3
  entry PT2 + 4, SCRATCH + 5
  call probe3
  entry PT2 + 4, SCRATCH + 7
  call probe3
  entry PD + 4, PT2 + 5
  call probe
  call probe3
  entry PD + 4, PT2 + 3
  call probe3
  show [PD + 4]
  newline
  # fetches
  try 1f
  mov eax, PAGES + 0x2000
  jmp eax
1: call show_cr2
  # 4-MiB pages
  entry PD + 4, 0x800087
  mov edi, PD + 4
  mov dword ptr [0x300000], 0
  call probe
  mov eax, cr4
  or eax, 0x10
  mov cr4, eax
  entry PD + 4, 0x800083
  call probe
  call probe3
  entry PD + 4, 0xa00083
  call probe
  # across the end of a page, and INVLPG
  entry PD + 4, PT2 + 7
  mov dword ptr [PT2 + 4], SCRATCH + 7
  mov dword ptr [PT2 + 8], SCRATCH + 0x4007
  mov eax, cr3
  mov cr3, eax
  mov dword ptr [PAGES + 0x1ffe], 0x11223344
  mov eax, [SCRATCH + 0xffe]
  and eax, 0xffff
  show eax
  mov eax, [SCRATCH + 0x4000]
  and eax, 0xffff
  show eax
  mov dword ptr [SCRATCH + 0x5000], 0x5555
  mov dword ptr [PT2 + 8], SCRATCH + 0x5007
  invlpg [PAGES + 0x2000]
  show [PAGES + 0x2000]
  newline
  mov dword ptr [PT2 + 8], 0
  invlpg [PAGES + 0x2000]
  try 1f
  mov dword ptr [PAGES + 0x1ffe], 0x55667788
1: call show_cr2
  mov eax, [SCRATCH + 0xffe]
  and eax, 0xffff
  show eax
  newline
  mov eax, cr0
  and eax, 0x7ffeffff
  mov cr0, eax
  mov eax, cr4
  and eax, ~0x10
  mov cr4, eax

  say "PAE paging\n"
  mov edi, PDPT
  mov ecx, 8
  xor eax, eax
  rep stosd
  mov edi, PD
  mov ecx, 1024
  rep stosd
  mov edi, PT
  mov ecx, 512
  mov eax, 7
1: stosd
  mov dword ptr [edi], 0
  add edi, 4
  add eax, 0x1000
  loop 1b
  mov edi, PT2
  mov ecx, 1024
  xor eax, eax
  rep stosd
  mov dword ptr [PD], PT + 7
  mov dword ptr [PD + 8], 0x200087
  mov dword ptr [PD + 16], PT2 + 7
  mov dword ptr [PDPT], PD + 1
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, PDPT
  mov cr3, eax
  mov eax, cr0
  or eax, 0x80010000
  mov cr0, eax
  mov dword ptr [SCRATCH], 0xabcd
  mov ebx, PAGES + 0x1010
  mov edi, PT2 + 8
  call probe
  entry PT2 + 8, SCRATCH + 1
  call probe
  call probe3
  entry PT2 + 8, SCRATCH + 7
  call probe3
  # bit 63 without NXE is reserved; with it, it forbids fetches
  mov dword ptr [PT2 + 12], 0x80000000
  entry PT2 + 8, SCRATCH + 7
  call probe
  mov ecx, 0xc0000080
  rdmsr
  or eax, 0x800
  wrmsr
  call probe
  try 1f
  jmp ebx
1: call show_cr2
  mov dword ptr [PT2 + 12], 0x40000000
  entry PT2 + 8, SCRATCH + 7
  call probe
  mov dword ptr [PT2 + 12], 0
  entry PD + 16, 0x802087
  mov edi, PD + 16
  call probe
  entry PD + 16, 0x800083
  call probe
  call probe3
  # another root in the same page: the PDPTEs decide
  mov dword ptr [PDPT + 32], PD + 0x4001
  mov esi, PD
  mov edi, PD + 0x4000
  mov ecx, 1024
  rep movsd
  mov dword ptr [PD + 0x4010], 0xc00083
  mov dword ptr [ebx], 0x8080
  mov eax, PDPT + 32
  mov cr3, eax
  mov dword ptr [ebx], 0xc0c0
  show [ebx]
  mov eax, PDPT
  mov cr3, eax
  show [ebx]
  newline
  mov eax, cr0
  and eax, 0x7ffeffff
  mov cr0, eax
  mov eax, cr4
  and eax, ~0x20
  mov cr4, eax
  mov ecx, 0xc0000080
  xor eax, eax
  xor edx, edx
  wrmsr
  call reset_tables
  ret

paging_back:
  mov eax, DATA0
  mov ds, eax
  mov es, eax
  mov esp, [recover_esp]
  jmp [recover]
