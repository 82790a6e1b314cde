/*
 * Seven small loops whose times, as multiples of the processor's own, say how good an emulator's code is:
 * kernels NAME…, each announced and closed by marker lines with a checksum.
 *
 * alu        rounds of a hash: rotates, xors, ands and adds of 32-bit words
 * xorshift   one long chain of shifts and xors
 * copy       8 bytes at a time, 128 KB
 * sum        8 bytes at a time, 128 KB
 * histogram  byte loads, and adds to memory
 * sort       quicksort of 100,000 words: branches that cannot be foreseen, recursion
 * bytecode   an interpreter with its registers in memory: indirect jumps
 */
#include "program.h"

enum { WORDS = 1 << 14, SORTED = 100000 };

static u64 source[2 * WORDS], target[2 * WORDS];
static u32 counts[256];
static s32 numbers[SORTED];
static s64 registers[16];

static inline u32 rotate(u32 word, int bits)
{
    return word >> bits | word << (32 - bits);
}

__attribute__((noipa)) static u64 alu(u64 rounds)
{
    u32 a = 0x6a09e667, b = 0xbb67ae85, c = 0x3c6ef372, d = 0xa54ff53a;
    u32 e = 0x510e527f, f = 0x9b05688c, g = 0x1f83d9ab, h = 0x5be0cd19, k = 1;

    for (u64 i = 0; i < rounds; i++) {
        u32 left = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k;
        u32 right = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));

        k = k * 1664525u + 1013904223u;
        h = g, g = f, f = e, e = d + left;
        d = c, c = b, b = a, a = left + right;
    }
    return (u64)(a ^ b ^ c ^ d) << 32 | (e ^ f ^ g ^ h);
}

__attribute__((noipa)) static u64 xorshift(u64 rounds)
{
    u64 a = 88172645463325252ul, b = 12345, c = 0;

    do {
        a ^= a << 13;
        a ^= a >> 7;
        a ^= a << 17;
        b = (b + a) << 31 | (b + a) >> 33;
        c = (c ^ b) + a;
    } while (--rounds);
    return c;
}

__attribute__((noipa)) static u64 copy(u64 *to, const u64 *from, u64 words)
{
    for (u64 i = 0; i < words; i++)
        to[i] = from[i];
    return to[words - 1];
}

__attribute__((noipa)) static u64 sum(const u64 *from, u64 words)
{
    u64 total = 0;

    for (u64 i = 0; i < words; i++)
        total += from[i];
    return total;
}

__attribute__((noipa)) static u64 histogram(u32 *into, const u8 *from, u64 size_bytes)
{
    for (u64 i = 0; i < size_bytes; i++)
        into[from[i]]++;
    return into[7];
}

static void quicksort(s32 *values, s64 low, s64 high)
{
    while (low < high) {
        s32 pivot = values[(low + high) >> 1];
        s64 i = low, j = high;

        while (i <= j) {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i <= j) {
                s32 swapped = values[i];

                values[i++] = values[j];
                values[j--] = swapped;
            }
        }
        if (j - low < high - i) {
            quicksort(values, low, j);
            low = i;
        } else {
            quicksort(values, i, high);
            high = j;
        }
    }
}

__attribute__((noipa)) static u64 sort(s32 *values, u64 count)
{
    u32 random = 12345;
    u64 mixed = 0;

    for (u64 i = 0; i < count; i++) {
        random = random * 1664525u + 1013904223u;
        values[i] = (s32)(random ^ random >> 13);
    }
    quicksort(values, 0, (s64)count - 1);
    for (u64 i = 0; i < count; i++)
        mixed = mixed * 31 + (u32)values[i];
    return mixed;
}

/* ---- a machine of ten instructions of three bytes: operation, register, register or number ---- */

enum { HALT, LOAD, ADD, SUBTRACT, MULTIPLY, JUMP_NONZERO, SHIFT_RIGHT, XOR, JUMP_ODD, MOVE };

__attribute__((noipa)) static u64 run_bytecode(const u8 *at, s64 *r)
{
    static const void *const operations[] = {
        &&halt, &&load, &&add, &&subtract, &&multiply, &&jump_nonzero, &&shift_right, &&xor, &&jump_odd, &&move,
    };
#define NEXT goto *operations[*at]
    NEXT;
load:
    r[at[1]] = (signed char)at[2], at += 3;
    NEXT;
add:
    r[at[1]] += r[at[2]], at += 3;
    NEXT;
subtract:
    r[at[1]] -= r[at[2]], at += 3;
    NEXT;
multiply:
    r[at[1]] *= r[at[2]], at += 3;
    NEXT;
shift_right:
    r[at[1]] = (s64)((u64)r[at[1]] >> at[2]), at += 3;
    NEXT;
xor:
    r[at[1]] ^= r[at[2]], at += 3;
    NEXT;
move:
    r[at[1]] = r[at[2]], at += 3;
    NEXT;
jump_nonzero:
    at += r[at[1]] ? (signed char)at[2] : 3;
    NEXT;
jump_odd:
    at += r[at[1]] & 1 ? (signed char)at[2] : 3;
    NEXT;
halt:
    return (u64)r[0];
#undef NEXT
}

/* Steps of the Collatz sequences from r1 downwards, counted in r0; each jump's number is its distance in bytes. */
static const u8 collatz[] = {
    /*  0 */ LOAD, 0, 0,
    /*  3 */ LOAD, 3, 1,
    /*  6 */ LOAD, 4, 3,
    /*  9 */ MOVE, 2, 1,
    /* 12 */ ADD, 0, 3,
    /* 15 */ JUMP_ODD, 2, 40 - 15,
    /* 18 */ SHIFT_RIGHT, 2, 1,
    /* 21 */ MOVE, 5, 2,
    /* 24 */ SUBTRACT, 5, 3,
    /* 27 */ JUMP_NONZERO, 5, (u8)(12 - 27),
    /* 30 */ SUBTRACT, 1, 3,
    /* 33 */ JUMP_NONZERO, 1, (u8)(9 - 33),
    /* 36 */ HALT, 0, 0, HALT,
    /* 40 */ MULTIPLY, 2, 4,
    /* 43 */ ADD, 2, 3,
    /* 46 */ JUMP_NONZERO, 2, (u8)(21 - 46),
};

/* ---- how often each is run: half a second and more where a cycle costs two to nine ---- */

static u64 run_alu(void) { return alu(80000000); }
static u64 run_xorshift(void) { return xorshift(200000000); }

static u64 run_copy(void)
{
    u64 result = 0;

    for (int i = 0; i < 16000; i++)
        result += copy(target, source, WORDS);
    return result;
}

static u64 run_sum(void)
{
    u64 result = 0;

    for (int i = 0; i < 20000; i++)
        result = result * 31 + sum(source, WORDS);
    return result;
}

static u64 run_histogram(void)
{
    u64 result = 0;

    for (int i = 0; i < 2000; i++)
        result += histogram(counts, (const u8 *)source, sizeof source / 2);
    return result;
}

static u64 run_sort(void)
{
    u64 result = 0;

    for (int i = 0; i < 50; i++)
        result += sort(numbers, SORTED);
    return result;
}

static u64 run_bytecode_load(void)
{
    registers[1] = 130000;
    return run_bytecode(collatz, registers);
}

static const struct {
    const char *name;
    u64 (*run)(void);
} kernels[] = {
    {"k_alu", run_alu},   {"k_xorshift", run_xorshift}, {"k_copy", run_copy},           {"k_sum", run_sum},
    {"k_histogram", run_histogram}, {"k_sort", run_sort},   {"k_bytecode", run_bytecode_load},
};

int program(int count, char **words)
{
    for (u64 i = 0; i < sizeof source / sizeof *source; i++)
        source[i] = i * 0x9e3779b97f4a7c15;
    for (int word = 1; word < count; word++)
        for (u64 i = 0; i < sizeof kernels / sizeof *kernels; i++)
            if (same_text(words[word], kernels[i].name)) {
                u64 result;

                mark_begin(kernels[i].name);
                result = kernels[i].run();
                mark_end_hex(kernels[i].name, result);
            }
    return 0;
}
