/*
 * Runs floating-point instructions on the host's processor. Each request on standard input gives code bytes,
 * RAX, 64 bytes of memory (at RDI) and an FXSAVE image; each answer is RAX, RFLAGS, the signal that arrived
 * (0 if none), the memory and the image afterwards.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

struct request {
  uint8_t length;
  uint8_t code[15];
  uint64_t rax;
  uint8_t memory[128];
  uint8_t image[512];
} __attribute__((packed));

struct answer {
  uint64_t rax;
  uint64_t rflags;
  uint64_t signal;
  uint8_t memory[128];
  uint8_t image[512];
} __attribute__((packed));

static struct request request;
static struct answer answer;
static uint8_t image[512] __attribute__((aligned(64)));
static uint8_t clean[512] __attribute__((aligned(64)));
static uint8_t memory[128] __attribute__((aligned(64)));
static uint8_t *code;
static sigjmp_buf escape;

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)info;
  memcpy(answer.image, ((ucontext_t *)context)->uc_mcontext.fpregs, 512);
  answer.signal = number;
  siglongjmp(escape, 1);
}

static void run(void) {
  uint64_t rax = request.rax, rflags;
  __asm__ volatile(
      "fxrstor64 %[image]\n\t"
      "pushq $2\n\tpopfq\n\t"
      "call *%[code]\n\t"
      "pushfq\n\tpop %[rflags]\n\t"
      "fxsave64 %[image]\n\t"
      "fxrstor64 %[clean]"
      : "+a"(rax), [rflags] "=&r"(rflags), [image] "+m"(image)
      : [code] "r"(code), [clean] "m"(clean), "D"(memory)
      : "memory", "cc", "rdx", "rcx");
  answer.rax = rax;
  answer.rflags = rflags;
  memcpy(answer.image, image, 512);
}

int main(void) {
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};
  static uint8_t alternate[65536];
  stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
  sigaltstack(&stack, 0);
  action.sa_flags |= SA_ONSTACK;
  sigaction(SIGFPE, &action, 0);
  sigaction(SIGILL, &action, 0);
  sigaction(SIGSEGV, &action, 0);
  __asm__ volatile("fxsave64 %0" : "=m"(clean));
  code = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  while (fread(&request, sizeof request, 1, stdin) == 1) {
    memset(&answer, 0, sizeof answer);
    memcpy(code, request.code, request.length);
    code[request.length] = 0xc3;
    memcpy(memory, request.memory, sizeof memory);
    memcpy(image, request.image, sizeof image);
    if (sigsetjmp(escape, 1) == 0) run();
    else __asm__ volatile("fxrstor64 %0" : : "m"(clean));
    memcpy(answer.memory, memory, sizeof memory);
    fwrite(&answer, sizeof answer, 1, stdout);
  }
  return 0;
}
