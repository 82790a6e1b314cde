/* What the monitor can be told to do. `argument` is the rest of the line, "" if there is none. */
#pragma once
#include "ops.h"

struct command {
    const char *name;
    const char *help;
    void (*run)(const struct boot_info *boot, const char *argument);
};

void command_ops(const struct boot_info *boot, const char *argument);
void command_time(const struct boot_info *boot, const char *argument);
void command_mem(const struct boot_info *boot, const char *argument);
void command_bench(const struct boot_info *boot, const char *argument);
void command_fault(const struct boot_info *boot, const char *argument);
void command_who(const struct boot_info *boot, const char *argument);

bool same_text(const char *a, const char *b);
