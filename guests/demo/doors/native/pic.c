/* The 8259 pair (8259A data sheet, ICW1 to ICW4, OCW1 and OCW2): the timer and COM1 alone are let through. */
#include "native.h"

enum { MASTER = 0x20, SLAVE = 0xa0, END_OF_INTERRUPT = 0x20 };

void native_pic_init(void)
{
    static const struct {
        u16 port;
        u8 value;
    } writes[] = {
        { MASTER, 0x11 }, { MASTER + 1, FIRST_IRQ_VECTOR }, { MASTER + 1, 4 }, { MASTER + 1, 1 },
        { SLAVE, 0x11 }, { SLAVE + 1, FIRST_IRQ_VECTOR + 8 }, { SLAVE + 1, 2 }, { SLAVE + 1, 1 },
        { MASTER + 1, (u8)~(1 << IRQ_TIMER | 1 << IRQ_COM1) }, { SLAVE + 1, 0xff },
    };

    for (word i = 0; i < ARRAY_LENGTH(writes); i++)
        write_port8(writes[i].port, writes[i].value);
}

void native_end_of_interrupt(void)
{
    write_port8(MASTER, END_OF_INTERRUPT);
}
