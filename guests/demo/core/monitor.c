/* The first and last thing a door calls: says where we are, then obeys the console for ever. */
#include "commands.h"
#include "line.h"
#include "print.h"

struct pv_ops pv_ops;

static void command_help(const struct boot_info *boot, const char *argument);

static void command_poweroff(const struct boot_info *boot, const char *argument)
{
    (void)boot, (void)argument;
    print("bye\n");
    pv_ops.shutdown(SHUTDOWN_POWEROFF);
}

static void command_reboot(const struct boot_info *boot, const char *argument)
{
    (void)boot, (void)argument;
    print("see you in a moment\n");
    pv_ops.shutdown(SHUTDOWN_REBOOT);
}

static const struct command commands[] = {
    { "help", "this list", command_help },
    { "who", "the boot descriptor: which hypervisor this is", command_who },
    { "ops", "the pv_ops table: each slot and who fills it", command_ops },
    { "time", "clock, wall clock and a timer interrupt", command_time },
    { "mem", "memory, and a page mapped to another frame", command_mem },
    { "bench", "short loops, in nanoseconds and cycles", command_bench },
    { "fault", "cause and catch an exception: fault pf | ud | gp | de, or fault fatal", command_fault },
    { "poweroff", "stop", command_poweroff },
    { "reboot", "start again", command_reboot },
};

static void command_help(const struct boot_info *boot, const char *argument)
{
    (void)boot, (void)argument;
    for (word i = 0; i < ARRAY_LENGTH(commands); i++)
        print("  %-9s %s\n", commands[i].name, commands[i].help);
}

bool same_text(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b)
        a++, b++;
    return *a == *b;
}

/* Ends the first word of `line` with a 0 and returns what follows it, both without leading blanks. */
static char *split(char **line)
{
    char *rest;

    while (**line == ' ')
        ++*line;
    for (rest = *line; *rest != '\0' && *rest != ' '; rest++)
        ;
    while (*rest == ' ')
        *rest++ = '\0';
    return rest;
}

static void obey(const struct boot_info *boot, char *line)
{
    char *argument = split(&line);

    if (*line == '\0')
        return;
    for (word i = 0; i < ARRAY_LENGTH(commands); i++)
        if (same_text(line, commands[i].name)) {
            commands[i].run(boot, argument);
            return;
        }
    print("no command %s; try help\n", line);
}

static void list_ops(void)
{
    enum { PER_LINE = 5 };
    word listed = 0;

#define OP(result, slot, arguments, what) \
    print(" %s%s", #slot, ++listed % PER_LINE == 0 ? "\n        " : "");
    PV_OPS(OP)
#undef OP
    print("\n");
}

static void greet(const struct boot_info *boot)
{
    print("\nPolyvisor demo guest\n");
    print("door:    %s, started by %s\n", boot->door, boot->hypervisor);
    print("calls:   %s\n", boot->transfer);
    print("ops:     table pv_ops at 0x%llx, all slots filled by %s\n        ", address_of(&pv_ops), boot->door);
    list_ops();
    print("memory:  %llu KiB\n", (u64)boot->memory_pages * PAGE_BYTES / 1024);
    print("options: %s\n", boot->command_line);
    print("Type help for a list of commands.\n");
}

void demo_main(const struct boot_info *boot)
{
    char line[80];

    pv_ops.irq_enable();
    greet(boot);
    for (;;) {
        print("demo> ");
        read_line(line, sizeof line);
        obey(boot, line);
    }
}
