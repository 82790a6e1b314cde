/* The integer names used throughout, and the few things a freestanding program needs from its compiler. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long long u64;
typedef long long s64;
/* As wide as an address: 64 bits, or 32. */
typedef unsigned long word;

#define PAGE_BYTES 4096UL
#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Orders memory accesses for the compiler; on one virtual CPU that is all the ordering there is. */
#define compiler_barrier() __asm__ volatile("" ::: "memory")

static inline u64 read_tsc(void)
{
    u32 low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (u64)high << 32 | low;
}

static inline u64 address_of(const volatile void *object)
{
    return (word)object;
}
