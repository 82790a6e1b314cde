/* The fault command: exceptions on purpose. */
#include "commands.h"
#include "print.h"
#include "trap.h"

static void cause_pf(void)
{
    /* The first pages are never mapped. Assembly, because gcc knows that no object lies there. */
    __asm__ volatile("movl $1, (%0)" :: "r"(0x10UL) : "memory");
}

static void cause_ud(void)
{
    __asm__ volatile("ud2");
}

static void cause_de(void)
{
    __asm__ volatile("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx" ::: "eax", "ecx", "edx", "cc");
}

static const struct {
    const char *name;
    void (*cause)(void);
} faults[] = {
    { "pf", cause_pf },
    { "ud", cause_ud },
    { "gp", cause_gp },
    { "de", cause_de },
};

void command_fault(const struct boot_info *boot, const char *argument)
{
    bool known = *argument == '\0';

    (void)boot;
    if (same_text(argument, "fatal")) {
        cause_pf();
        return;
    }
    for (word i = 0; i < ARRAY_LENGTH(faults); i++) {
        if (*argument != '\0' && !same_text(argument, faults[i].name))
            continue;
        known = true;
        print("%s: %s\n", faults[i].name, catch_trap(faults[i].cause) ? "caught" : "NOTHING HAPPENED");
    }
    if (!known)
        print("fault pf, ud, gp, de or fatal; without a name, all that can be caught\n");
}
