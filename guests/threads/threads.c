/*
 * Several processors in one address space that changes all the time: threads FORKS THREADS ROUNDS.
 *
 * The first of THREADS threads forks FORKS children, which execute `/bin/busybox true`, and waits for each; each of the others
 * maps 16 pages, touches them and unmaps them, ROUNDS times. Every such change has to be told to the processors on which the
 * other threads run. A page that is mapped anew has to be zero: one that is not was translated by what should have been flushed.
 *
 * One line when all have done all of it. Wrong arguments, a page that is not zero, and a child that fails end it with 1.
 */
#include "program.h"

enum { SYS_CLONE = 56, SYS_FUTEX = 202 };
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1 };
/* CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM: a thread (Linux, include/uapi/linux/sched.h). */
enum { THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 };

enum { MOST_THREADS = 64, STACK_BYTES = 4096, PAGES = 16 };

static u8 stacks[MOST_THREADS][STACK_BYTES] __attribute__((aligned(16)));
static u64 rounds, rounds_done;
/* A futex: threads that are not done yet, without the first. */
static u32 at_work;

static void must(int condition, const char *what)
{
    need(condition ? 0 : -1, what);
}

static void map_and_unmap(void)
{
    u8 *memory = map_memory(PAGES * PAGE_BYTES);

    for (u64 page = 0; page < PAGES; page++) {
        /* Read and written at once, so that it is one fault a page. */
        u8 before = __atomic_exchange_n(&memory[page * PAGE_BYTES], (u8)(page + 1), __ATOMIC_SEQ_CST);

        must(before == 0, "a fresh page is not zero");
    }
    need(system_call(SYS_MUNMAP, (s64)memory, PAGES * PAGE_BYTES, 0), "munmap");
}

__attribute__((used, noreturn)) static void thread(void)
{
    for (u64 i = 0; i < rounds; i++)
        map_and_unmap();
    __atomic_fetch_add(&rounds_done, rounds, __ATOMIC_SEQ_CST);
    if (__atomic_sub_fetch(&at_work, 1, __ATOMIC_SEQ_CST) == 0)
        system_call(SYS_FUTEX, (s64)&at_work, FUTEX_WAKE, 1);
    for (;;)
        system_call(SYS_EXIT, 0, 0, 0);
}

/* A thread that begins in `thread`, on a stack of its own. */
static s64 start_thread(u8 *stack_end)
{
    s64 result;

    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "call thread\n"
                     "1:"
                     : "=a"(result)
                     : "0"((s64)SYS_CLONE), "D"((s64)THREAD_FLAGS), "S"(stack_end)
                     : "rcx", "r11", "memory");
    return result;
}

static void fork_and_execute(void)
{
    static char *words[] = {"busybox", "true", 0};
    static char *environment[] = {0};
    int status = -1;
    s64 child = need(system_call(SYS_FORK, 0, 0, 0), "fork");

    if (child == 0) {
        system_call(SYS_EXECVE, (s64)"/bin/busybox", (s64)words, (s64)environment);
        leave(1);
    }
    must(system_call6(SYS_WAIT4, child, (s64)&status, 0, 0, 0, 0) == child && status == 0, "a child's end");
}

static int usage(void)
{
    static const char text[] = "threads FORKS THREADS ROUNDS: 1 to 64 threads\n";

    system_call(SYS_WRITE, STDERR, (s64)text, sizeof text - 1);
    return 1;
}

int program(int count, char **words)
{
    char line[80];
    u64 forks, threads;

    if (count != 4)
        return usage();
    forks = number_from(words[1]);
    threads = number_from(words[2]);
    rounds = number_from(words[3]);
    if (threads < 1 || threads > MOST_THREADS)
        return usage();
    at_work = (u32)(threads - 1);
    for (u64 i = 1; i < threads; i++)
        need(start_thread(stacks[i] + STACK_BYTES), "clone");
    for (u64 i = 0; i < forks; i++)
        fork_and_execute();
    for (u32 left; (left = __atomic_load_n(&at_work, __ATOMIC_SEQ_CST)) != 0;)
        system_call6(SYS_FUTEX, (s64)&at_work, FUTEX_WAIT, left, 0, 0, 0);
    put_line(line, put_text(put_decimal(put_text(put_decimal(line, forks), " forks, "), rounds_done), " rounds"));
    return 0;
}
