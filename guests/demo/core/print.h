/* Text on the console, through pv_ops.console_write. */
#pragma once
#include "types.h"

/* printf with %s %c %% and the 64-bit integers %llu and %llx, each with `-`, `0` and a width. "\n" becomes "\r\n". */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
