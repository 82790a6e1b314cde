/*
 * The conformance oracle: executes given instruction bytes on the processor it runs on and reports
 * what became of registers, flags and memory, and which exception ended them.
 *
 *   oracle < cases > outcomes          (formats: ../README.md, "Between recorder and oracle")
 *
 * A case is started by returning from a signal handler whose context was filled with the case's
 * registers, and ends with the next signal: the code pages are filled with INT3, so that whatever
 * the bytes do next, they end there or in an exception. The signal's context holds all registers,
 * the vector, the error code and CR2. Selector 0x23 in the context's CS starts the case in
 * compatibility mode (Linux keeps a flat 32-bit code segment there for every process).
 *
 * Every region is mapped twice: where the case sees it, with the case's rights, and at an alias
 * that this program writes. Before the first case the process gives up all system calls but
 * read, write, exit and sigreturn (seccomp strict), so that no case can reach the kernel.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/ucontext.h>
#include <unistd.h>

#define MAX_REGIONS 16
#define FXSAVE_BYTES 512
#define XSTATE_BV_OFFSET 512
#define XSTATE_X87_SSE 3

#define FLAG_RESERVED 0x2u
#define FLAG_IF 0x200u
#define FLAG_TF 0x100u
#define FLAG_NT 0x4000u
#define FLAG_AC 0x40000u
#define FLAG_ID 0x200000u

#define SELECTOR_CODE64 0x33
#define SELECTOR_CODE32 0x23
#define SELECTOR_DATA 0x2b

struct region_header {
  uint64_t address;
  uint32_t size_bytes;
  uint32_t rights; /* 1 read, 2 write, 4 execute */
};

struct case_header {
  uint32_t mode; /* 0: 64-bit mode, 1: compatibility mode, 32-bit code */
  uint32_t patch_count;
  uint64_t rip;
  uint64_t rflags;
  uint64_t gpr[16];
  uint64_t fs_base;
  uint64_t gs_base;
  uint8_t fxsave[FXSAVE_BYTES];
};

struct patch_header {
  uint64_t address;
  uint32_t size_bytes;
  uint32_t reserved;
};

struct outcome_header {
  uint32_t vector;
  uint32_t error_code;
  uint64_t cr2;
  uint64_t rip;
  uint64_t rflags;
  uint64_t gpr[16];
  uint64_t fs_base;
  uint64_t gs_base;
  uint8_t fxsave[FXSAVE_BYTES];
  uint32_t change_count;
  uint32_t reserved;
};

struct region {
  struct region_header header;
  uint8_t *alias;
  uint8_t *initial;
};

static struct region regions[MAX_REGIONS];
static uint32_t region_count;
static uint8_t *input, *output;
static size_t input_size, input_at, output_size, output_at;
static uint32_t cases_left;
static uint32_t have_ldt;
static int case_is_running;

static void fail(const char *what) {
  static const char prefix[] = "oracle: ";
  if (write(2, prefix, sizeof prefix - 1) < 0 || write(2, what, strlen(what)) < 0 || write(2, "\n", 1) < 0)
    syscall(SYS_exit, 3);
  syscall(SYS_exit, 2);
}

static const void *take(size_t bytes) {
  if (input_size - input_at < bytes) fail("input ends in the middle of a record");
  const void *at = input + input_at;
  input_at += bytes;
  return at;
}

static void put(const void *data, size_t bytes) {
  if (output_size - output_at < bytes) fail("output buffer is full");
  memcpy(output + output_at, data, bytes);
  output_at += bytes;
}

static uint8_t *alias_of(uint64_t address, uint32_t bytes) {
  for (uint32_t i = 0; i < region_count; i++) {
    const struct region_header *h = &regions[i].header;
    if (address >= h->address && address + bytes <= h->address + h->size_bytes)
      return regions[i].alias + (address - h->address);
  }
  fail("a patch lies outside all regions");
  return NULL;
}

/* Append one region's changed runs of bytes and put its initial content back. */
static uint32_t report_changes(struct region *r) {
  uint32_t changes = 0;
  for (uint32_t page = 0; page < r->header.size_bytes; page += 4096) {
    uint8_t *now = r->alias + page, *was = r->initial + page;
    if (!memcmp(now, was, 4096)) continue;
    for (uint32_t i = 0; i < 4096; i++) {
      if (now[i] == was[i]) continue;
      uint32_t end = i + 1;
      while (end < 4096 && now[end] != was[end]) end++;
      struct patch_header change = {r->header.address + page + i, end - i, 0};
      put(&change, sizeof change);
      put(now + i, end - i);
      changes++;
      i = end;
    }
  }
  return changes;
}

static void apply_patches(uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const struct patch_header *patch = take(sizeof *patch);
    const void *bytes = take(patch->size_bytes);
    memcpy(alias_of(patch->address, patch->size_bytes), bytes, patch->size_bytes);
  }
}

/* The content before the case, patches included, to compare with; one per region. */
static uint8_t *before[MAX_REGIONS];

static void record(const ucontext_t *context) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const greg_t *g = context->uc_mcontext.gregs;
  struct outcome_header out;
  memset(&out, 0, sizeof out);
  out.vector = (uint32_t)g[REG_TRAPNO];
  out.error_code = (uint32_t)g[REG_ERR];
  out.cr2 = out.vector == 14 ? (uint64_t)g[REG_CR2] : 0;
  out.rip = (uint64_t)g[REG_RIP];
  out.rflags = (uint64_t)g[REG_EFL] & ~(uint64_t)0x10000; /* without RF: exception delivery sets it */
  for (int i = 0; i < 16; i++) out.gpr[i] = (uint64_t)g[order[i]];
  __asm__ volatile("rdfsbase %0" : "=r"(out.fs_base));
  __asm__ volatile("rdgsbase %0" : "=r"(out.gs_base));
  memcpy(out.fxsave, context->uc_mcontext.fpregs, FXSAVE_BYTES);
  size_t header_at = output_at;
  put(&out, sizeof out);
  for (uint32_t i = 0; i < region_count; i++) {
    struct region view = regions[i];
    view.initial = before[i];
    out.change_count += report_changes(&view);
    for (uint32_t page = 0; page < view.header.size_bytes; page += 4096)
      if (memcmp(view.alias + page, regions[i].initial + page, 4096))
        memcpy(view.alias + page, regions[i].initial + page, 4096);
  }
  memcpy(output + header_at, &out, sizeof out);
}

static void start(ucontext_t *context) {
  static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const struct case_header *c = take(sizeof *c);
  apply_patches(c->patch_count);
  for (uint32_t i = 0; i < region_count; i++)
    for (uint32_t page = 0; page < regions[i].header.size_bytes; page += 4096)
      if (memcmp(before[i] + page, regions[i].alias + page, 4096))
        memcpy(before[i] + page, regions[i].alias + page, 4096);

  greg_t *g = context->uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) g[order[i]] = (greg_t)c->gpr[i];
  g[REG_RIP] = (greg_t)c->rip;
  g[REG_EFL] = (greg_t)((c->rflags & ~(uint64_t)FLAG_TF) | FLAG_IF | FLAG_RESERVED);
  uint64_t code = c->mode ? SELECTOR_CODE32 : SELECTOR_CODE64;
  g[REG_CSGSFS] = (greg_t)(code | (uint64_t)SELECTOR_DATA << 48); /* CS, GS, FS, SS */
  uint8_t *fp = (uint8_t *)context->uc_mcontext.fpregs;
  memcpy(fp, c->fxsave, 464); /* bytes 464..511 are the kernel's */
  uint64_t in_use = XSTATE_X87_SSE;
  memcpy(fp + XSTATE_BV_OFFSET, &in_use, sizeof in_use);

  uint16_t data = SELECTOR_DATA, null = 0, ldt_fs = 0x07, ldt_gs = 0x0f;
  __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" ::"r"(data));
  if (c->mode) {
    __asm__ volatile("mov %0, %%fs" ::"r"(have_ldt ? ldt_fs : data));
    __asm__ volatile("mov %0, %%gs" ::"r"(have_ldt ? ldt_gs : data));
  } else {
    __asm__ volatile("mov %0, %%fs\n\tmov %0, %%gs" ::"r"(null));
    __asm__ volatile("wrfsbase %0" ::"r"(c->fs_base));
    __asm__ volatile("wrgsbase %0" ::"r"(c->gs_base));
  }
  /* ID is not among the flags that sigreturn takes from the context. */
  if (c->rflags & FLAG_ID) __asm__ volatile("pushfq\n\torl %0, (%%rsp)\n\tpopfq" ::"i"(FLAG_ID) : "memory", "cc");
}

static void finish(void) {
  for (size_t at = 0; at < output_at;) {
    ssize_t written = write(1, output + at, output_at - at);
    if (written <= 0) syscall(SYS_exit, 3);
    at += (size_t)written;
  }
  syscall(SYS_exit, 0);
}

__attribute__((used)) static void on_signal(int number, siginfo_t *info, void *opaque) {
  (void)number;
  (void)info;
  if (case_is_running) record(opaque);
  if (!cases_left) finish();
  cases_left--;
  case_is_running = 1;
  start(opaque);
}

/* The handler proper: a case may have left AC, NT and ID set, which would disturb the C code. */
void on_signal_entry(int, siginfo_t *, void *);
__asm__(".globl on_signal_entry\n"
        "on_signal_entry:\n"
        "  pushfq\n"
        "  andl $~0x244000, (%rsp)\n"
        "  popfq\n"
        "  jmp on_signal\n");

static void read_input(void) {
  size_t capacity = 1 << 20;
  input = malloc(capacity);
  for (;;) {
    if (input_size == capacity) input = realloc(input, capacity *= 2);
    if (!input) fail("out of memory");
    ssize_t got = read(0, input + input_size, capacity - input_size);
    if (got < 0) fail("cannot read the input");
    if (!got) return;
    input_size += (size_t)got;
  }
}

static void map_region(struct region *r) {
  const struct region_header *h = &r->header;
  int fd = memfd_create("region", 0);
  if (fd < 0 || ftruncate(fd, h->size_bytes)) fail("cannot make a region");
  r->alias = mmap(NULL, h->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  int rights = (h->rights & 1 ? PROT_READ : 0) | (h->rights & 2 ? PROT_WRITE : 0) | (h->rights & 4 ? PROT_EXEC : 0);
  void *seen = mmap((void *)h->address, h->size_bytes, rights, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  if (r->alias == MAP_FAILED || seen != (void *)h->address) fail("cannot map a region");
  memcpy(r->alias, r->initial, h->size_bytes);
  /* Present, and dirty where it may be: no fault of ours may be mistaken for one of the case's. */
  for (uint32_t i = 0; i < h->size_bytes; i += 4096) {
    volatile uint8_t *byte = (volatile uint8_t *)seen + i;
    uint8_t value = *byte;
    if (h->rights & 2) *byte = value;
  }
  if (mlock(seen, h->size_bytes)) { /* without the right to lock the pages are present all the same */
  }
  close(fd);
}

/* FS and GS of compatibility mode: flat segments with the bases that the first case gives. */
static void make_segments(uint64_t fs_base, uint64_t gs_base) {
  uint64_t bases[2] = {fs_base, gs_base};
  have_ldt = 1;
  for (unsigned i = 0; i < 2; i++) {
    struct user_desc d = {.entry_number = i, .base_addr = (unsigned)bases[i], .limit = 0xfffff, .seg_32bit = 1,
                          .limit_in_pages = 1, .useable = 1};
    if (syscall(SYS_modify_ldt, 1, &d, sizeof d)) have_ldt = 0;
  }
}

static void install_handler(void) {
  stack_t stack = {.ss_size = 1 << 18};
  stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL)) fail("cannot set the signal stack");
  struct sigaction action = {.sa_sigaction = on_signal_entry, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigfillset(&action.sa_mask);
  static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};
  for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
    if (sigaction(signals[i], &action, NULL)) fail("cannot install the handler");
}

int main(void) {
  read_input();
  region_count = *(const uint32_t *)take(4);
  cases_left = *(const uint32_t *)take(4);
  if (region_count > MAX_REGIONS) fail("too many regions");
  for (uint32_t i = 0; i < region_count; i++) {
    struct region *r = &regions[i];
    memcpy(&r->header, take(sizeof r->header), sizeof r->header);
    r->initial = malloc(r->header.size_bytes);
    before[i] = malloc(r->header.size_bytes);
    memcpy(r->initial, take(r->header.size_bytes), r->header.size_bytes);
    memcpy(before[i], r->initial, r->header.size_bytes);
    map_region(r);
  }
  output_size = (size_t)cases_left * 8192 + 65536;
  output = mmap(NULL, output_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (output == MAP_FAILED) fail("out of memory");
  put(&have_ldt, sizeof have_ldt);
  if (cases_left) {
    const struct case_header *first = (const struct case_header *)(input + input_at);
    make_segments(first->fs_base, first->gs_base);
    memcpy(output, &have_ldt, sizeof have_ldt);
  }
  install_handler();
  alarm(300);
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)) fail("cannot give up system calls");
  __asm__ volatile("int3");
  return 1;
}
