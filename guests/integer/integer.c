/*
 * A static Linux program without libc: two integer loops whose times say how well an emulator runs a CPU's everyday
 * instructions. No system call, fault or memory access of its own falls into a loop.
 *
 * xorshift: one long chain of shifts and xors (Marsaglia, "Xorshift RNGs", 2003) into a rotated sum.
 * alu:      eight 32-bit words mixed as the rounds of a hash are: rotates, and, or, not, add.
 *
 * Each is announced and closed on standard output by a line of bench/loads.sh's kind, the closing one with a checksum.
 * System call numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl.
 */
typedef unsigned int u32;
typedef unsigned long u64;

enum { SYSCALL_WRITE = 1, SYSCALL_EXIT = 60, STDOUT = 1 };
enum { XORSHIFT_ROUNDS = 20000000, ALU_ROUNDS = 4000000 };

static long system_call(long number, long a1, long a2, long a3)
{
    long result;

    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a1), "S"(a2), "d"(a3) : "rcx", "r11", "memory");
    return result;
}

/* ---- the loops ---- */

static u64 xorshift(void)
{
    u64 state = 0x9e3779b97f4a7c15, sum = 0;

    for (u32 round = 0; round < XORSHIFT_ROUNDS; round++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum = (sum << 5 | sum >> 59) + state;
    }
    return sum;
}

static u32 rotate(u32 word, int bits)
{
    return word << bits | word >> (32 - bits);
}

static u64 alu(void)
{
    u32 a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;

    for (u32 round = 0; round < ALU_ROUNDS; round++) {
        u32 left = h + (rotate(e, 26) ^ rotate(e, 21) ^ rotate(e, 7)) + ((e & f) ^ (~e & g)) + round;
        u32 right = (rotate(a, 30) ^ rotate(a, 19) ^ rotate(a, 10)) + ((a & b) | (c & (a | b)));

        h = g, g = f, f = e, e = d + left;
        d = c, c = b, b = a, a = left + right;
    }
    return (u64)(a ^ b ^ c ^ d) << 32 | (e ^ f ^ g ^ h);
}

/* ---- output ---- */

static char *put_text(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static void put_line(const char *what, const char *name, const char *result)
{
    char line[80];
    char *end = put_text(put_text(put_text(put_text(line, "@@ "), what), name), result);

    *end++ = '\n';
    system_call(SYSCALL_WRITE, STDOUT, (long)line, end - line);
}

static void run(const char *name, u64 (*loop)(void))
{
    char result[18] = " ";
    u64 sum;

    put_line("begin ", name, "");
    sum = loop();
    for (int i = 0; i < 16; i++)
        result[i + 1] = "0123456789abcdef"[sum >> (60 - 4 * i) & 15];
    put_line("end ", name, result);
}

void _start(void)
{
    run("xorshift", xorshift);
    run("alu", alu);
    system_call(SYSCALL_EXIT, 0, 0, 0);
    for (;;)
        ;
}
