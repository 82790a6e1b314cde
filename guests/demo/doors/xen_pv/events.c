/* Exceptions, and event channels: the interrupts of a PV guest. */
#include "../../core/trap.h"
#include "hypercall.h"
#include "xen_pv.h"

enum { MAX_PORTS = 64 }; /* we bind three or four; Xen numbers them from 1 */

static void (*handlers[MAX_PORTS])(void);

extern void (*const xen_pv_trap_entries[])(void);
void xen_pv_event_entry(void);
void xen_pv_failsafe_entry(void);

/* ---- interrupts on and off: the mask byte in the shared info page ---- */

void xen_pv_irq_disable(void)
{
    xen_pv_shared_info.vcpu[0].upcall_mask = 1;
    compiler_barrier();
}

void xen_pv_irq_enable(void)
{
    struct vcpu_info *vcpu = &xen_pv_shared_info.vcpu[0];

    compiler_barrier();
    vcpu->upcall_mask = 0;
    compiler_barrier();
    /* An event that came while masked is delivered on the way back from any hypercall, the cheapest will do. */
    if (vcpu->upcall_pending)
        hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
}

/* ---- events ---- */

static u64 take_word(volatile u64 *word)
{
    u64 taken = 0;

    __asm__ volatile("xchg %0, %1" : "+r"(taken), "+m"(*word) :: "memory");
    return taken;
}

static void clear_bit(volatile u64 *words, u64 bit)
{
    __asm__ volatile("lock btr %1, %0" : "+m"(words[bit / 64]) : "r"(bit % 64) : "cc", "memory");
}

static void handle_port(u64 port)
{
    clear_bit(xen_pv_shared_info.event_pending, port);
    if (port < MAX_PORTS && handlers[port])
        handlers[port]();
}

/* The two-level walk: first the word of words, then each pending word (Xen public/event_channel.h). */
static void handle_events(void)
{
    struct shared_info *shared = &xen_pv_shared_info;

    while (shared->vcpu[0].upcall_pending) {
        shared->vcpu[0].upcall_pending = 0;
        for (u64 words = take_word(&shared->vcpu[0].pending_words); words != 0; words &= words - 1) {
            u64 word = (u64)__builtin_ctzl(words);
            u64 events = shared->event_pending[word] & ~shared->event_mask[word];

            for (; events != 0; events &= events - 1)
                handle_port(word * EVENTS_PER_WORD + (u64)__builtin_ctzl(events));
        }
    }
}

void xen_pv_on_event(u32 port, void (*handler)(void))
{
    struct {
        u32 port;
    } unmask = { port };

    if (port >= MAX_PORTS)
        return;
    handlers[port] = handler;
    hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, (u64)&unmask);
}

bool xen_pv_on_virq(u32 virq, void (*handler)(void))
{
    struct {
        u32 virq, vcpu, port;
    } bind = { .virq = virq, .vcpu = 0 };

    if (hypercall2(HYPERCALL_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, (u64)&bind) < 0)
        return false;
    xen_pv_on_event(bind.port, handler);
    return true;
}

/* ---- traps ---- */

/* entry.S comes here with everything saved. */
void xen_pv_trap(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_EVENT)
        handle_events();
    else
        handle_trap(frame, xen_pv_shared_info.vcpu[0].cr2);
}

static void register_callback(u16 type, void (*entry)(void))
{
    struct {
        u16 type, flags;
        void (*entry)(void);
    } callback = { type, CALLBACK_MASKS_EVENTS, entry };

    hypercall2(HYPERCALL_CALLBACK_OP, CALLBACKOP_REGISTER, (u64)&callback);
}

void xen_pv_traps_init(void)
{
    enum { VECTORS = 20 };
    static struct trap_entry table[VECTORS + 1]; /* ends with an address of 0 */

    for (u8 vector = 0; vector < VECTORS; vector++)
        table[vector] = (struct trap_entry){ .vector = vector, .cs = KERNEL_CS, .address = xen_pv_trap_entries[vector] };
    hypercall1(HYPERCALL_SET_TRAP_TABLE, (u64)table);
    register_callback(CALLBACK_EVENT, xen_pv_event_entry);
    register_callback(CALLBACK_FAILSAFE, xen_pv_failsafe_entry);
}
