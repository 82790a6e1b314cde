/*
 * Two consoles: the ring that a toolstack gives a domU (Xen public/io/console.h), or, for dom0 and where there is no
 * ring, the hypervisor's own by console_io.
 */
#include "hypercall.h"
#include "xen.h"

static struct console_ring *ring; /* NULL: console_io */
static u32 ring_port;

static void notify(void)
{
    struct {
        u32 port;
    } send = { ring_port };

    hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (word)&send);
}

/* An event only has to end halt(); whoever halted looks at the console itself. */
static void console_event(void)
{
}

/* Indices run freely and are taken modulo the ring's size. Whatever the other side wrote there, a difference larger
 * than the ring must not lead us out of it: hence the modulo on each access. */
static word write_ring(const char *text, word bytes)
{
    u32 producer = ring->out_producer;
    word written = 0;

    while (written < bytes && producer - ring->out_consumer < sizeof ring->out)
        ring->out[producer++ % sizeof ring->out] = text[written++];
    compiler_barrier();
    ring->out_producer = producer;
    notify();
    return written;
}

static word read_ring(char *text, word bytes)
{
    u32 consumer = ring->in_consumer;
    word read = 0;

    while (read < bytes && consumer != ring->in_producer)
        text[read++] = ring->in[consumer++ % sizeof ring->in];
    compiler_barrier();
    ring->in_consumer = consumer;
    if (read > 0)
        notify();
    return read;
}

void xen_console_write(const char *text, word bytes)
{
    if (!ring) {
        hypercall3(HYPERCALL_CONSOLE_IO, CONSOLEIO_WRITE, bytes, (word)text);
        return;
    }
    while (bytes > 0) {
        word written = write_ring(text, bytes);

        text += written;
        bytes -= written;
        if (bytes > 0)
            hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_YIELD, 0); /* full: give the reader a chance */
    }
}

word xen_console_read(char *text, word bytes)
{
    hypercall_result read;

    if (ring)
        return read_ring(text, bytes);
    read = hypercall3(HYPERCALL_CONSOLE_IO, CONSOLEIO_READ, bytes, (word)text);
    return read < 0 ? 0 : (word)read;
}

void xen_console_init(struct console_ring *given, u32 port)
{
    if (!given) {
        xen_on_virq(VIRQ_CONSOLE, console_event); /* refused to a domU, which then has a console to print on only */
        return;
    }
    ring = given;
    ring_port = port;
    xen_on_event(port, console_event);
}

const char *xen_console_name(void)
{
    return ring ? "shared ring" : "console_io";
}
