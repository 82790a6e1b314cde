/*
 * Two consoles: the ring that a toolstack gives a domU (Xen public/io/console.h), or, for dom0 and where there is no
 * ring, the hypervisor's own by console_io.
 */
#include "hypercall.h"
#include "xen_pv.h"

static struct console_ring *ring; /* NULL: console_io */

static void notify(void)
{
    struct {
        u32 port;
    } send = { xen_pv_start_info->console_port };

    hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_SEND, (u64)&send);
}

/* An event only has to end halt(); whoever halted looks at the console itself. */
static void console_event(void)
{
}

/* Indices run freely and are taken modulo the ring's size. Whatever the other side wrote there, a difference larger
 * than the ring must not lead us out of it: hence the modulo on each access. */
static u64 write_ring(const char *text, u64 bytes)
{
    u32 producer = ring->out_producer;
    u64 written = 0;

    while (written < bytes && producer - ring->out_consumer < sizeof ring->out)
        ring->out[producer++ % sizeof ring->out] = text[written++];
    compiler_barrier();
    ring->out_producer = producer;
    notify();
    return written;
}

static u64 read_ring(char *text, u64 bytes)
{
    u32 consumer = ring->in_consumer;
    u64 read = 0;

    while (read < bytes && consumer != ring->in_producer)
        text[read++] = ring->in[consumer++ % sizeof ring->in];
    compiler_barrier();
    ring->in_consumer = consumer;
    if (read > 0)
        notify();
    return read;
}

void xen_pv_console_write(const char *text, u64 bytes)
{
    if (!ring) {
        hypercall3(HYPERCALL_CONSOLE_IO, CONSOLEIO_WRITE, bytes, (u64)text);
        return;
    }
    while (bytes > 0) {
        u64 written = write_ring(text, bytes);

        text += written;
        bytes -= written;
        if (bytes > 0)
            hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_YIELD, 0); /* full: give the reader a chance */
    }
}

u64 xen_pv_console_read(char *text, u64 bytes)
{
    s64 read;

    if (ring)
        return read_ring(text, bytes);
    read = hypercall3(HYPERCALL_CONSOLE_IO, CONSOLEIO_READ, bytes, (u64)text);
    return read < 0 ? 0 : (u64)read;
}

void xen_pv_console_init(void)
{
    const struct start_info *start = xen_pv_start_info;

    if (start->flags & START_FLAG_DOM0 || start->console_mfn == 0) {
        xen_pv_on_virq(VIRQ_CONSOLE, console_event); /* refused to a domU, which then has a console to print on only */
        return;
    }
    ring = xen_pv_page_of_mfn(start->console_mfn);
    xen_pv_on_event(start->console_port, console_event);
}

const char *xen_pv_console_name(void)
{
    return ring ? "shared ring" : "console_io";
}
