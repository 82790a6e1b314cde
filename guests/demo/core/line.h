#pragma once
#include "types.h"

/* Waits for one line from the console and echoes it; backspace, Ctrl-U (clear) and Ctrl-C (give up) work. `line` gets
 * at most `bytes - 1` characters and a 0. */
void read_line(char *line, word bytes);
