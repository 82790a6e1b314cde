/* The bench command: short loops over the CPU alone, memory, and each kind of visit to the hypervisor. */
#include "commands.h"
#include "print.h"

/* Xorshift (Marsaglia, "Xorshift RNGs", 2003) mixed with add, rotate and multiply; the result shows that the CPU, real
 * or not, computed the right thing. */
static u64 run_integer(u64 iterations)
{
    u64 state = 0x9e3779b97f4a7c15, sum = 0;

    for (u64 i = 0; i < iterations; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sum = (sum << 5 | sum >> 59) + state * 3;
    }
    return sum;
}

static u64 words[512];

static u64 run_memory(u64 iterations)
{
    u64 sum = 0;

    for (u64 i = 0; i < iterations; i++) {
        volatile u64 *word = &words[i * 7 % ARRAY_LENGTH(words)];

        *word += i;
        sum += *word;
    }
    return sum;
}

static u64 run_clock(u64 iterations)
{
    u64 last = 0;

    for (u64 i = 0; i < iterations; i++)
        last = pv_ops.clock_ns();
    return last;
}

static u64 run_irq(u64 iterations)
{
    for (u64 i = 0; i < iterations; i++) {
        pv_ops.irq_disable();
        pv_ops.irq_enable();
    }
    return 0;
}

static u64 run_null_call(u64 iterations)
{
    for (u64 i = 0; i < iterations; i++)
        pv_ops.null_call();
    return 0;
}

static u64 run_flush(u64 iterations)
{
    for (u64 i = 0; i < iterations; i++)
        pv_ops.flush_tlb();
    return 0;
}

static word root_frame;

static u64 run_cr3(u64 iterations)
{
    for (u64 i = 0; i < iterations; i++)
        pv_ops.write_cr3(root_frame);
    return 0;
}

static const struct loop {
    const char *name;
    u64 (*run)(u64 iterations);
    u64 iterations;
    u64 result; /* what the loop must compute, 0 if nothing in particular */
} loops[] = {
    { "integer", run_integer, 1000000, 0x6d988f859572e80b },
    { "memory", run_memory, 1000000, 0x1284954392ac0 },
    { "clock_ns", run_clock, 100000, 0 },
    { "irq_disable + irq_enable", run_irq, 100000, 0 },
    { "null_call", run_null_call, 20000, 0 },
    { "flush_tlb", run_flush, 2000, 0 },
    { "write_cr3", run_cr3, 2000, 0 },
};

static void run_loop(const struct loop *loop)
{
    u64 start_ns = pv_ops.clock_ns(), start_tsc = read_tsc();
    u64 result = loop->run(loop->iterations);
    u64 cycles = read_tsc() - start_tsc, ns = pv_ops.clock_ns() - start_ns;

    print("  %-25s %8llu x %6llu.%02llu ns %8llu cycles", loop->name, loop->iterations, ns / loop->iterations,
          ns % loop->iterations * 100 / loop->iterations, cycles / loop->iterations);
    if (loop->result != 0)
        print("  %s", result == loop->result ? "right" : "WRONG RESULT");
    print("\n");
}

void command_bench(const struct boot_info *boot, const char *argument)
{
    (void)argument;
    root_frame = boot->root_frame;
    for (word i = 0; i < ARRAY_LENGTH(words); i++)
        words[i] = 0;
    for (word i = 0; i < ARRAY_LENGTH(loops); i++)
        run_loop(&loops[i]);
}
