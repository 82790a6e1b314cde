/* The hypercalls, each with what can be seen of it. */
#include "guest.h"

u8 lguest_data[4096] __attribute__((aligned(4096)));
volatile u32 *irq_enabled, *blocked, *cr2, *seconds, *nanoseconds, *irq_pending, *ring, *reserve_mem, *tsc_khz, *pgdir,
    *noirq_start, *noirq_end, *kernel_address, *syscall_vec;
volatile u8 *ring_status;
u32 *own_tables;
int pae;
extern u8 iret_start[], iret_itself[], iret_end[], user_code[], user_code_end[];
void enter_user(u32 eip, u32 esp);

void lay_out_data(void)
{
  volatile u32 *at = (volatile u32 *)lguest_data;
  irq_enabled = at++;
  blocked = at++;
  cr2 = at++;
  seconds = at++;
  nanoseconds = at++;
  if (era->irq_pending) irq_pending = at++;
  ring_status = (volatile u8 *)at;
  at += RING / 4;
  ring = at;
  at += RING * era->words;
  reserve_mem = at++;
  tsc_khz = at++;
  if (era->pgdir) pgdir = at++;
  noirq_start = at++;
  if (era->noirq_range) noirq_end = at++;
  kernel_address = at++;
  syscall_vec = at++;
  fill((void *)ring_status, 0xff, RING);
  *noirq_start = (u32)(era->noirq_range ? iret_start : iret_itself);
  if (era->noirq_range) *noirq_end = (u32)iret_end;
  *kernel_address = OFFSET;
  *syscall_vec = 0x80;
  *blocked = 1;
}

static void by_int(u32 eax, u32 ebx, u32 ecx, u32 edx, u32 esi)
{
  asm volatile("int $0x1f" : "+a"(eax) : "b"(ebx), "c"(ecx), "d"(edx), "S"(esi) : "memory", "cc");
}
static void by_vmcall(u32 eax, u32 ebx, u32 ecx, u32 edx, u32 esi)
{
  asm volatile(".byte 0x0f, 0x01, 0xc1" : "+a"(eax) : "b"(ebx), "c"(ecx), "d"(edx), "S"(esi) : "memory", "cc");
}

void hcall(u32 call, u32 a, u32 b, u32 c, u32 d)
{
  if (era->old_registers) by_int(call, b, c, a, d);
  else if (era->vmcall) by_vmcall(call, a, b, c, d);
  else by_int(call, a, b, c, d);
}
void hcall_otherwise(u32 call, u32 a, u32 b, u32 c, u32 d)
{
  if (era->vmcall) by_int(call, a, b, c, d);
  else by_vmcall(call, a, b, c, d);
}
void hcall_in_ring(u32 place, u32 call, u32 a, u32 b, u32 c, u32 d)
{
  volatile u32 *at = ring + place * era->words;
  at[0] = call;
  if (era->old_registers) at[1] = b, at[2] = c, at[3] = a;
  else at[1] = a, at[2] = b, at[3] = c;
  if (era->words == 5) at[4] = d;
  ring_status[place] = 0;
}

void *page(void)
{
  static u8 pages[64][4096] __attribute__((aligned(4096)));
  static u32 next;
  return pages[next++ & 63];
}

void set_gate(u32 vector, void *handler, u32 type, u32 dpl)
{
  u32 address = (u32)handler;
  hcall(LOAD_IDT_ENTRY, vector, (0x60u << 16) | (address & 0xffff), (address & 0xffff0000) | 0x8000 | dpl << 13 | type << 8, 0);
}

#define GATE(vector, type, dpl) do { extern u8 gate_##vector[]; set_gate(vector, gate_##vector, type, dpl); } while (0)
void gates(void)
{
  GATE(3, 0xf, 3);
  GATE(6, 0xe, 0);
  GATE(7, 0xe, 0);
  GATE(13, 0xe, 0);
  GATE(14, 0xe, 0);
  GATE(32, 0xe, 0);
  GATE(33, 0xe, 0);
  GATE(34, 0xe, 0);
  GATE(35, 0xe, 0);
  GATE(36, 0xe, 0);
  GATE(37, 0xe, 0);
  GATE(128, 0xf, 3);
}

/* LAR of a selector, 0 if it cannot be seen. */
static u32 rights(u32 selector)
{
  u32 value = 0;
  asm("lar %1, %0; jz 1f; xor %0, %0; 1:" : "=r"(value) : "r"(selector) : "cc");
  return value;
}

static u32 gdt[64];
static void load_descriptor(u32 entry, u32 low, u32 high)
{
  gdt[entry * 2] = low;
  gdt[entry * 2 + 1] = high;
  if (era->words == 5) hcall(LOAD_GDT_ENTRY, entry, low, high, 0);
  else hcall(LOAD_GDT, PA(gdt), 32, 0, 0);
}

static void try_segments(void)
{
  load_descriptor(12, 0xffff, 0xcf9a00);
  load_descriptor(13, 0xffff, 0xcf9200);
  load_descriptor(14, 0xffff, 0xcffa00);
  load_descriptor(15, 0xffff, 0xcff200);
  load_descriptor(20, 0x1234ffff, 0x409205);
  check("a descriptor of level 0 becomes one of level 1, accessed", rights(20 * 8) == 0x40b300);
  load_descriptor(16, 0xffff, 0xcf9200);
  load_descriptor(10, 0xffff, 0xcf9a00);
  check("the host's descriptors are ignored", rights(16 * 8) == 0 && rights(10 * 8) == 0);
  u32 read = 0;
  load_descriptor(20, PA(lguest_data) << 16 | 0xffff, 0x409200 | (PA(lguest_data) >> 16 & 0xff));
  *seconds = 0x55aa;
  asm volatile("mov %1, %%fs; movl %%fs:12, %0; mov %2, %%fs" : "=&r"(read) : "r"(20 * 8 + 1), "r"(0));
  check("the new segment can be used", read == 0x55aa);
  static u32 tls[6] = {0x0000ffff, 0x00cff200, 0x0000ffff, 0x00cff200, 0, 0};
  hcall(LOAD_TLS, PA(tls), 0, 0, 0);
  check("LOAD_TLS", rights(6 * 8 + 3) == 0xc0f300 && rights(8 * 8 + 3) == 0);
}

/* The entry for an address in the guest's own tables, which grow as needed; each table is told to the host. */
static u32 *leaf_of(u32 address)
{
  if (!pae) {
    u32 index = address >> 22;
    if (!own_tables[index]) {
      own_tables[index] = PA(page()) | 0x67;
      hcall(SET_PGD, PA(own_tables), index, 0, 0);
    }
    return (u32 *)VA(own_tables[index] & ~0xfffu) + (address >> 12 & 1023);
  }
  u32 *middle = VA(own_tables[(address >> 30) * 2] & ~0xfffu), index = address >> 21 & 511;
  if (!middle[index * 2]) {
    middle[index * 2] = PA(page()) | 0x67;
    hcall(SET_PMD, PA(middle), index, 0, 0);
  }
  return (u32 *)VA(middle[index * 2] & ~0xfffu) + (address >> 12 & 511) * 2;
}
/* Map a page, and say so. */
void map(u32 address, u32 entry)
{
  *leaf_of(address) = entry;
  hcall(SET_PTE, PA(own_tables), address, entry, 0);
}

/* Tables of the guest's own: the lowest 4 MiB at OFFSET. */
void take_tables(void)
{
  own_tables = page();
  if (pae)
    for (u32 i = 0; i < 4; i++) own_tables[i * 2] = PA(page()) | 1;
  for (u32 at = 0; at < 4 << 20; at += 4096) *leaf_of(OFFSET + at) = at | 3;
  hcall(NEW_PGTABLE, PA(own_tables), 0, 0, 0);
}

void fault_at(volatile u32 *at)
{
  asm volatile("movl $1f, %0; movl $1, (%1); 1:" : "=m"(resume) : "r"(at) : "memory");
}

static void try_paging(void)
{
  volatile u32 *a = page(), *b = page(), *window = (u32 *)0x40000000;
  take_tables();
  a[0] = 1111;
  b[0] = 2222;
  map((u32)window, PA(a) | 0x67);
  u32 before = window[0];
  map((u32)window, PA(b) | 0x67);
  check("SET_PTE", before == 1111 && window[0] == 2222);
  *leaf_of((u32)window) = PA(a) | 0x67;
  hcall(FLUSH_TLB, 0, 0, 0, 0);
  before = window[0];
  *leaf_of((u32)window) = PA(b) | 0x67;
  hcall(FLUSH_TLB, 1, 0, 0, 0);
  check("FLUSH_TLB of the user's part, and of all", before == 1111 && window[0] == 2222);
  u32 faults = traps[14];
  fault_at((u32 *)0x40001004);
  check("a page fault has its address in lguest_data and its error code",
        traps[14] == faults + 1 && *cr2 == 0x40001004 && last.code == 2 && (last.cs & 3) == 1);
  map((u32)window, PA(a) | 5);
  fault_at((u32 *)0x40000000);
  check("CR0.WP holds for the kernel", traps[14] == faults + 2 && last.code == 3);
  int kept = 1;
  for (u32 i = 0; i < 4; i++) {
    u32 enabled = i & 1 ? IF : 0;
    *irq_enabled = enabled;
    fault_at((u32 *)(0x40001000 + i * 4));
    if ((last.eflags & IF) != enabled || enabled_in_trap != 0 || (*irq_enabled & IF) != enabled) kept = 0;
  }
  *irq_enabled = 0;
  check("its gate masks interrupts, and EFLAGS say what irq_enabled was", kept && traps[14] == faults + 6);
}

static void try_ring(void)
{
  u32 irq = traps[32];
  hcall_in_ring(0, TS, 1, 0, 0, 0);
  hcall_in_ring(1, FLUSH_TLB, 1, 0, 0, 0);
  hcall_in_ring(2, SET_CLOCKEVENT, 0, 0, 0, 0);
  check("calls in the ring wait", ring_status[0] == 0 && ring_status[2] == 0);
  hcall(FLUSH_ASYNC, 0, 0, 0, 0);
  check("and are done before any other", ring_status[0] == 0xff && ring_status[1] == 0xff && ring_status[2] == 0xff);
  u32 before = traps[7];
  asm volatile("fninit");
  asm volatile("fninit");
  check("TS: the next FPU instruction is #NM, once", traps[7] == before + 1 && traps[32] == irq);
  for (u32 i = 3; i < 3 + RING; i++) {
    hcall_in_ring(i & 63, FLUSH_TLB, 0, 0, 0, 0);
    if ((i & 15) == 15) hcall(FLUSH_ASYNC, 0, 0, 0, 0);
  }
  hcall(FLUSH_ASYNC, 0, 0, 0, 0);
  u32 waiting = 0;
  for (u32 i = 0; i < RING; i++) waiting += ring_status[i] != 0xff;
  check("the ring goes round", waiting == 0);
}

static void try_clock(void)
{
  *irq_enabled = 0;
  *blocked = 0;
  u32 irq = traps[32], then = *nanoseconds, second = *seconds;
  hcall(SET_CLOCKEVENT, 1000000, 0, 0, 0);
  hcall(HALT, 0, 0, 0, 0);
  check("HALT ends with the clock's interrupt, which turns interrupts off and IRET on again",
        traps[32] == irq + 1 && (last.eflags & IF) && (*irq_enabled & IF));
  u32 passed = (*seconds - second) * 1000000000u + *nanoseconds - then;
  check("the time in lguest_data has moved by a millisecond at least", passed >= 1000000);
  *irq_enabled = 0;
  hcall(SET_CLOCKEVENT, 1000, 0, 0, 0);
  for (volatile u32 i = 0; i < 1000000 && !(era->irq_pending && *irq_pending); i++) ;
  check("no interrupt while irq_enabled is 0", traps[32] == irq + 1);
  if (era->irq_pending) check("irq_pending says that one waits", *irq_pending == IF);
  *irq_enabled = IF;
  hcall(era->irq_pending ? SEND_INTERRUPTS : FLUSH_ASYNC, 0, 0, 0, 0);
  check("it comes with SEND_INTERRUPTS, or the next call where there is none", traps[32] == irq + 2);
  if (era->irq_pending) check("and irq_pending is 0 again", *irq_pending == 0);
  *irq_enabled = 0;
  *blocked = 1;
}

static void try_user(void)
{
  u8 *code = page(), *stack = page();
  map(0x400000, PA(code) | 7);
  map(0x401000, PA(stack) | 7);
  for (u8 *from = user_code, *to = code; from < user_code_end; from++) *to++ = *from;
  static u8 kernel_stack[8192] __attribute__((aligned(4096)));
  hcall(SET_STACK, 0x69, (u32)kernel_stack + sizeof kernel_stack, 2, 0);
  u32 calls = traps[128], faults = traps[13], page_faults = traps[14];
  *irq_enabled = IF;
  enter_user(0x400000, 0x402000);
  check("system calls come straight from level 3, with the stack of SET_STACK",
        traps[128] == calls + 4 && last.ebx == 0x12345678 && (last.cs & 3) == 3 && last.user_esp == 0x402000);
  check("and leave irq_enabled alone", (*irq_enabled & IF) != 0);
  check("user code cannot use ports nor call the host", traps[13] == faults + 2 && last.eax == 3);
  check("its page faults come with its level and stack, on that of SET_STACK",
        traps[14] == page_faults + 4 && *cr2 == 0x50001008 && last_user_fault.code == 4 && (last_user_fault.cs & 3) == 3 &&
            last_user_fault.user_esp == 0x402000 && (last_user_fault.user_ss & 3) == 3 && (last_user_fault.eflags & IF));
  *irq_enabled = 0;
}

static void try_instructions(void)
{
  u32 value = 0;
  asm volatile("inl $0x70, %%eax" : "=a"(value));
  check("IN answers all ones", value == 0xffffffff);
  asm volatile("outb %%al, $0x80" : : "a"(1));
  value = 7;
  asm volatile("movl %%cr4, %0" : "=r"(value));
  check("CR4 reads 0", value == 0);
  u32 faults = traps[13];
  resume = (u32)&&after_hlt;
  asm volatile("" : : "r"(resume) : "memory");
  asm goto("hlt" : : : "memory" : after_hlt);
after_hlt:
  check("HLT is #GP", traps[13] == faults + 1);
  u32 breakpoints = traps[3];
  asm volatile("int3");
  check("INT3 goes straight to the guest", traps[3] == breakpoints + 1);
  if (era->irq_pending && !era->vmcall) {
    faults = traps[13];
    asm volatile("cli");
    check("CLI does nothing", traps[13] == faults);
  }
  if (!era->vmcall) {
    u32 undefined = traps[6];
    resume = (u32)&&after_call;
    asm volatile("" : : "r"(resume) : "memory");
    asm goto("mov $0, %%eax; .byte 0x0f, 0x01, 0xc1" : : : "memory", "eax" : after_call);
  after_call:
    check("VMCALL is #UD", traps[6] == undefined + 1);
  } else {
    hcall_otherwise(TS, 0, 0, 0, 0);
    check("INT 0x1f is a call too", 1);
  }
}

void try_calls(void)
{
  check("the host has filled in lguest_data", *tsc_khz != 0 && *reserve_mem == (pae ? 2u : 4u) << 20 && *seconds != 0);
  if (era->pgdir) check("pgdir: tables that the host made", *pgdir != 0 && (pae ? ((u32 *)VA(*pgdir))[6] & 1 : (((u32 *)VA(*pgdir))[OFFSET >> 22] & 7) == 7));
  try_segments();
  try_paging();
  try_ring();
  try_clock();
  try_user();
  try_instructions();
}
