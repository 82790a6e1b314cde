/*
 * A static Linux program without libc: entry, system calls, and the marker lines of bench/ on standard output.
 * The program defines `int program(int count, char **words)`; what it answers is the exit status.
 * System call numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl; calling convention: System V AMD64 ABI, A.2.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long u64;
typedef long s64;

enum {
    SYS_READ = 0, SYS_WRITE = 1, SYS_MMAP = 9, SYS_MUNMAP = 11, SYS_PIPE = 22, SYS_MADVISE = 28, SYS_NANOSLEEP = 35,
    SYS_GETPID = 39, SYS_FORK = 57, SYS_EXECVE = 59, SYS_EXIT = 60, SYS_WAIT4 = 61, SYS_GETPPID = 110, SYS_PRCTL = 157,
    SYS_CLOCK_GETTIME = 228, SYS_EXIT_GROUP = 231,
};
enum { STDOUT = 1, STDERR = 2 };

int program(int count, char **words);

/* ---- system calls ---- */

static inline s64 system_call6(s64 number, s64 a1, s64 a2, s64 a3, s64 a4, s64 a5, s64 a6)
{
    s64 result;
    register s64 r10 __asm__("r10") = a4;
    register s64 r8 __asm__("r8") = a5;
    register s64 r9 __asm__("r9") = a6;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline s64 system_call(s64 number, s64 a1, s64 a2, s64 a3)
{
    s64 result;

    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a1), "S"(a2), "d"(a3) : "rcx", "r11", "memory");
    return result;
}

static inline void leave(int status)
{
    for (;;)
        system_call(SYS_EXIT_GROUP, status, 0, 0);
}

/* ---- text ---- */

static inline char *put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static inline char *put_decimal(char *at, u64 value)
{
    char digits[20];
    int count = 0;

    do
        digits[count++] = '0' + value % 10;
    while (value /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

static inline char *put_hex(char *at, u64 value)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    return at;
}

static inline int same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline u64 number_from(const char *text)
{
    u64 value = 0;

    while (*text >= '0' && *text <= '9')
        value = value * 10 + (u64)(*text++ - '0');
    return value;
}

/* ---- a failure ends the program, so that no marker closes what did not happen ---- */

static inline s64 need(s64 result, const char *what)
{
    char line[80];
    char *end;

    if (result >= 0)
        return result;
    end = put_decimal(put_text(put_text(line, what), ": errno "), (u64)-result);
    *end++ = '\n';
    system_call(SYS_WRITE, STDERR, (s64)line, end - line);
    leave(1);
    return 0;
}

/* ---- marker lines: `@@ begin NAME`, `@@ stop NAME`, `@@ end NAME RESULT [FIGURE]` (bench/loads/loads.sh) ---- */

static inline void put_line(char *line, char *end)
{
    *end++ = '\n';
    need(system_call(SYS_WRITE, STDOUT, (s64)line, end - line), "write");
}

static inline void mark_begin(const char *name)
{
    char line[80];

    put_line(line, put_text(put_text(line, "@@ begin "), name));
}

/* The time ends here: what follows before the end looks at the result. */
static inline void mark_stop(const char *name)
{
    char line[80];

    put_line(line, put_text(put_text(line, "@@ stop "), name));
}

static inline void mark_end_hex(const char *name, u64 result)
{
    char line[80];

    put_line(line, put_hex(put_text(put_text(put_text(line, "@@ end "), name), " "), result));
}

static inline void mark_end_decimal(const char *name, u64 result, u64 figure)
{
    char line[120];
    char *end = put_decimal(put_text(put_text(put_text(line, "@@ end "), name), " "), result);

    put_line(line, put_decimal(put_text(end, " "), figure));
}

/* ---- memory and time ---- */

enum { PAGE_BYTES = 4096 };
enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22 };

/* Zeroed memory; pages appear as they are touched. */
static inline void *map_memory(u64 size_bytes)
{
    return (void *)need(system_call6(SYS_MMAP, 0, (s64)size_bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, -1, 0),
                        "mmap");
}

/* CLOCK_MONOTONIC, by a system call: without libc there is no vDSO. */
static inline u64 now_ns(void)
{
    s64 time[2];

    need(system_call(SYS_CLOCK_GETTIME, 1, (s64)time, 0), "clock_gettime");
    return (u64)time[0] * 1000000000 + (u64)time[1];
}

/* ---- entry: the stack holds argc, argv[] ---- */

__asm__(".globl _start\n"
        "_start:\n"
        "\tmov %rsp, %rdi\n"
        "\tand $-16, %rsp\n"
        "\tcall start\n");

__attribute__((used)) static void start(s64 *stack)
{
    leave(program((int)stack[0], (char **)(stack + 1)));
}

#endif
