/*
 * Two integer loops whose times say how well an emulator runs a CPU's everyday instructions. No system call, fault or
 * memory access of its own falls into a loop.
 *
 * xorshift: one long chain of shifts and xors (Marsaglia, "Xorshift RNGs", 2003) into a rotated sum.
 * alu:      eight 32-bit words mixed as the rounds of a hash are: rotates, and, or, not, add.
 *
 * integer NAME…: each named one is announced and closed by marker lines, the closing one with a checksum.
 */
#include "program.h"

enum { XORSHIFT_ROUNDS = 20000000, ALU_ROUNDS = 4000000 };

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

static void run(const char *name, u64 (*loop)(void))
{
    u64 sum;

    mark_begin(name);
    sum = loop();
    mark_end_hex(name, sum);
}

int program(int count, char **words)
{
    for (int word = 1; word < count; word++) {
        if (same_text(words[word], "xorshift"))
            run("xorshift", xorshift);
        if (same_text(words[word], "alu"))
            run("alu", alu);
    }
    return 0;
}
