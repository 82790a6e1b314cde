/* Event channels: the interrupts of Xen's guests. */
#include "hypercall.h"
#include "xen.h"

enum { MAX_PORTS = 64 }; /* we bind three or four; Xen numbers them from 1 */

static void (*handlers[MAX_PORTS])(void);

static word take_word(volatile word *from)
{
    word taken = 0;

    __asm__ volatile("xchg %0, %1" : "+r"(taken), "+m"(*from) :: "memory");
    return taken;
}

static void clear_bit(volatile word *words, word bit)
{
    __asm__ volatile("lock btr %1, %0" : "+m"(words[bit / EVENTS_PER_WORD]) : "r"(bit % EVENTS_PER_WORD) : "cc", "memory");
}

static void handle_port(word port)
{
    clear_bit(xen_shared_info.event_pending, port);
    if (port < MAX_PORTS && handlers[port])
        handlers[port]();
}

/* The two-level walk: first the word of words, then each pending word (Xen public/event_channel.h). */
void xen_handle_events(void)
{
    struct shared_info *shared = &xen_shared_info;

    while (shared->vcpu[0].upcall_pending) {
        shared->vcpu[0].upcall_pending = 0;
        for (word words = take_word(&shared->vcpu[0].pending_words); words != 0; words &= words - 1) {
            word index = (word)__builtin_ctzl(words);
            word events = shared->event_pending[index] & ~shared->event_mask[index];

            for (; events != 0; events &= events - 1)
                handle_port(index * EVENTS_PER_WORD + (word)__builtin_ctzl(events));
        }
    }
}

void xen_on_event(u32 port, void (*handler)(void))
{
    struct {
        u32 port;
    } unmask = { port };

    if (port >= MAX_PORTS)
        return;
    handlers[port] = handler;
    hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, (word)&unmask);
}

bool xen_on_virq(u32 virq, void (*handler)(void))
{
    struct {
        u32 virq, vcpu, port;
    } bind = { .virq = virq, .vcpu = 0 };

    if (hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, (word)&bind) < 0)
        return false;
    xen_on_event(bind.port, handler);
    return true;
}
