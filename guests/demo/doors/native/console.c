/* The 16550 at COM1 (PC16550D data sheet). */
#include "native.h"

enum { COM1 = 0x3f8, DATA = COM1, INTERRUPTS = COM1 + 1, FIFO = COM1 + 2, LINE = COM1 + 3, MODEM = COM1 + 4, STATUS = COM1 + 5 };
enum { STATUS_RECEIVED = 1, STATUS_ROOM = 0x20 };

/* What was typed before: it waits in the receiver, which forgets it when its FIFO is turned on (PC16550D, 8.6.4). */
static char early[16];
static word early_bytes;

static word receive(char *text, word bytes)
{
    word read = 0;

    while (read < bytes && read_port8(STATUS) & STATUS_RECEIVED)
        text[read++] = (char)read_port8(DATA);
    return read;
}

void native_console_init(void)
{
    write_port8(LINE, 0x83); /* 8 bits, no parity; the divisor's registers */
    write_port8(DATA, 1); /* 115,200 baud */
    write_port8(INTERRUPTS, 0);
    write_port8(LINE, 3);
    early_bytes = receive(early, sizeof early);
    write_port8(FIFO, 7);
    write_port8(MODEM, 0xb); /* DTR, RTS; OUT2 lets its interrupt through */
    write_port8(INTERRUPTS, 1); /* when something was received */
}

void native_console_write(const char *text, word bytes)
{
    for (word i = 0; i < bytes; i++) {
        while (!(read_port8(STATUS) & STATUS_ROOM))
            ;
        write_port8(DATA, (u8)text[i]);
    }
}

word native_console_read(char *text, word bytes)
{
    word read = 0;

    while (read < bytes && read < early_bytes) {
        text[read] = early[read];
        read++;
    }
    early_bytes -= read;
    for (word i = 0; i < early_bytes; i++)
        early[i] = early[read + i];
    return read + receive(text + read, bytes - read);
}
