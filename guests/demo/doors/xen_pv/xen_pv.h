/* What the files of this door share. Functions named xen_pv_SLOT fill the slots of pv_ops. */
#pragma once
#include "../../core/ops.h"
#include "abi.h"

#define OP(result, slot, arguments, what) DECLARE_DOOR_OP(xen_pv, result, slot, arguments)
PV_OPS(OP)
#undef OP

extern struct shared_info xen_pv_shared_info;
extern const struct start_info *xen_pv_start_info;

/* paging.c: the frame of our own that a machine frame is, and the other way; maps any machine frame. */
void *xen_pv_page_of_mfn(u64 mfn);
void xen_pv_map_mfn(void *page, u64 mfn);
u64 xen_pv_root_frame(void);

/* events.c: runs `handler` when an event arrives on `port`. */
void xen_pv_traps_init(void);
void xen_pv_on_event(u32 port, void (*handler)(void));
bool xen_pv_on_virq(u32 virq, void (*handler)(void));

/* console.c, clock.c: need events. */
void xen_pv_console_init(void);
void xen_pv_clock_init(void);
const char *xen_pv_console_name(void);
