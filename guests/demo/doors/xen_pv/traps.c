/* Exceptions, and the upcall that events come by. */
#include "../../core/trap.h"
#include "../xen/hypercall.h"
#include "xen_pv.h"

extern void (*const xen_pv_trap_entries[])(void);
void xen_pv_event_entry(void);
void xen_pv_failsafe_entry(void);

/* ---- interrupts on and off: the mask byte in the shared info page ---- */

void xen_pv_irq_disable(void)
{
    xen_shared_info.vcpu[0].upcall_mask = 1;
    compiler_barrier();
}

void xen_pv_irq_enable(void)
{
    struct vcpu_info *vcpu = &xen_shared_info.vcpu[0];

    compiler_barrier();
    vcpu->upcall_mask = 0;
    compiler_barrier();
    /* An event that came while masked is delivered on the way back from any hypercall, the cheapest will do. */
    if (vcpu->upcall_pending)
        hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
}

/* ---- traps ---- */

/* Entries come here with everything saved. */
void xen_pv_trap(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_EVENT)
        xen_handle_events();
    else
        handle_trap(frame, xen_shared_info.vcpu[0].cr2);
}

static void register_callback(u16 type, void (*entry)(void))
{
    struct {
        u16 type, flags;
        struct callback_address address;
    } callback = { type, CALLBACK_MASKS_EVENTS, CALLBACK_ADDRESS(entry) };

    hypercall2(HYPERCALL_CALLBACK_OP, CALLBACKOP_REGISTER, (word)&callback);
}

void xen_pv_traps_init(void)
{
    enum { VECTORS = 20 };
    static struct trap_entry table[VECTORS + 1]; /* ends with an address of 0 */

    xen_pv_frames_init(xen_pv_trap);
    for (u8 vector = 0; vector < VECTORS; vector++)
        table[vector] = (struct trap_entry){ .vector = vector, .cs = KERNEL_CS, .address = xen_pv_trap_entries[vector] };
    hypercall1(HYPERCALL_SET_TRAP_TABLE, (word)table);
    register_callback(CALLBACK_EVENT, xen_pv_event_entry);
    register_callback(CALLBACK_FAILSAFE, xen_pv_failsafe_entry);
}
