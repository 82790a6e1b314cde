/* What gcc calls for 64-bit division where registers have 32 bits (gcc internals, "Routines for integer arithmetic"). */
#include "../../core/types.h"

u64 __udivmoddi4(u64 dividend, u64 divisor, u64 *rest);
u64 __udivdi3(u64 dividend, u64 divisor);
u64 __umoddi3(u64 dividend, u64 divisor);

/* DIV of 64 by 32 bits; the quotient fits because `high` is less than the divisor. */
static u32 divide_halves(u32 high, u32 low, u32 divisor, u32 *rest)
{
    u32 quotient;

    __asm__("divl %4" : "=a"(quotient), "=d"(*rest) : "0"(low), "1"(high), "r"(divisor) : "cc");
    return quotient;
}

static u64 divide_by_short(u64 dividend, u32 divisor, u64 *rest)
{
    u32 high = (u32)(dividend >> 32), left;
    u32 upper = divide_halves(0, high, divisor, &left);
    u32 lower = divide_halves(left, (u32)dividend, divisor, &left);

    *rest = left;
    return (u64)upper << 32 | lower;
}

u64 __udivmoddi4(u64 dividend, u64 divisor, u64 *rest)
{
    u64 quotient = 0, left = 0;

    if (divisor >> 32 == 0)
        return divide_by_short(dividend, (u32)divisor, rest);
    for (int bit = 63; bit >= 0; bit--) {
        bool carry = left >> 63;

        left = left << 1 | (dividend >> bit & 1);
        if (carry || left >= divisor) {
            left -= divisor;
            quotient |= 1ULL << bit;
        }
    }
    *rest = left;
    return quotient;
}

u64 __udivdi3(u64 dividend, u64 divisor)
{
    u64 rest;

    return __udivmoddi4(dividend, divisor, &rest);
}

u64 __umoddi3(u64 dividend, u64 divisor)
{
    u64 rest;

    __udivmoddi4(dividend, divisor, &rest);
    return rest;
}
