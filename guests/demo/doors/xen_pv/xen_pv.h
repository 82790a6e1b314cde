/* What the files of this door share. Slots of pv_ops that are not here are filled by ../xen. */
#pragma once
#include "../xen/xen.h"

extern const struct start_info *xen_pv_start_info;

/* paging.c: the frame of our own that a machine frame is, and the other way; maps any machine frame. */
void *xen_pv_page_of_mfn(word mfn);
void xen_pv_map_mfn(void *page, word mfn);
word xen_pv_root_frame(void);
void xen_pv_write_cr3(word root_frame);
void xen_pv_flush_tlb(void);
void xen_pv_set_pte(void *page, word frame);

/* 64/ or 32/: whom entries of traps lead to, and how they return. */
struct trap_frame;
void xen_pv_frames_init(void (*handler)(struct trap_frame *frame));

/* traps.c */
void xen_pv_traps_init(void);
void xen_pv_irq_enable(void);
void xen_pv_irq_disable(void);
