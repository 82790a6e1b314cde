/* A line editor for a terminal without any of its own. */
#include "line.h"
#include "ops.h"
#include "print.h"

enum { CTRL_C = 0x03, BACKSPACE = 0x08, CTRL_U = 0x15, ESCAPE = 0x1b, DELETE = 0x7f };

/* Looking and going to sleep must be one step, or a key that arrives in between is not seen until the next one. */
static char read_key(void)
{
    char key;

    for (;;) {
        pv_ops.irq_disable();
        if (pv_ops.console_read(&key, 1) == 1)
            break;
        pv_ops.halt();
    }
    pv_ops.irq_enable();
    return key;
}

/* Arrow and function keys send ESC [ parameters letter (ECMA-48, control sequences); none of them does anything here. */
static void skip_escape_sequence(void)
{
    char key = read_key();

    if (key == '[' || key == 'O')
        do
            key = read_key();
        while (key < '@' || key > '~');
}

static word erase(word length, word count)
{
    for (; count > 0 && length > 0; count--, length--)
        print("\b \b");
    return length;
}

void read_line(char *line, word bytes)
{
    word length = 0;

    for (;;) {
        char key = read_key();

        if (key == '\r' || key == '\n')
            break;
        if (key == CTRL_C) {
            print("^C");
            length = 0;
            break;
        }
        if (key == BACKSPACE || key == DELETE)
            length = erase(length, 1);
        else if (key == CTRL_U)
            length = erase(length, length);
        else if (key == ESCAPE)
            skip_escape_sequence();
        else if (key >= ' ' && key <= '~' && length < bytes - 1) {
            line[length++] = key;
            print("%c", key);
        }
    }
    line[length] = '\0';
    print("\n");
}
