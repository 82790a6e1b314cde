#include "../../xen/hypercall.h"
#include "../xen_pv.h"
#include "stubs.h"

/* Frames come through cpu/32's entries, and go back by the iret hypercall, which lets events in again. */
void xen_pv_frames_init(void (*handler)(struct trap_frame *frame))
{
    trap_handler = handler;
    trap_return = hypercall_page + HYPERCALL_IRET * HYPERCALL_STUB_BYTES;
}
