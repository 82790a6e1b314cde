/* What Xen gives to all its guests, PV and on page tables of their own, 64-bit and 32-bit. */
#pragma once
#include "../../core/ops.h"
#include "abi.h"

/* The shared page is mapped over this one: the frame behind it is lost. */
extern struct shared_info xen_shared_info;

/* events.c: runs `handler` when an event arrives on `port`. */
void xen_on_event(u32 port, void (*handler)(void));
bool xen_on_virq(u32 virq, void (*handler)(void));
void xen_handle_events(void);

/* console.c, clock.c: need events. Without a ring it is the hypervisor's own console. */
void xen_console_init(struct console_ring *ring, u32 port);
void xen_console_write(const char *text, word bytes);
word xen_console_read(char *text, word bytes);
const char *xen_console_name(void);
void xen_clock_init(void);
u64 xen_clock_ns(void);
u64 xen_wall_clock_s(void);
void xen_set_timer(u64 deadline_ns);

/* hypervisor.c */
void xen_null_call(void);
void xen_shutdown(enum shutdown_reason reason);
/* "Xen 4.17.1, console: shared ring" */
const char *xen_describe(void);
