/*
 * Door xen_pv: a paravirtual domain of Xen, or of anything that speaks its interface, 64-bit or 32-bit.
 *
 * Xen has built the page tables and started us at CPL 3, or at CPL 1 in 32-bit mode; nothing privileged is ours to do.
 * This file fills pv_ops and hands over to the core.
 */
#include "../xen/hypercall.h"
#include "xen_pv.h"

const struct start_info *xen_pv_start_info;

static void xen_pv_halt(void)
{
    hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_BLOCK, 0); /* lets events in by itself */
}

static const struct pv_ops ops = {
    .irq_enable = xen_pv_irq_enable,
    .irq_disable = xen_pv_irq_disable,
    .halt = xen_pv_halt,
    .write_cr3 = xen_pv_write_cr3,
    .flush_tlb = xen_pv_flush_tlb,
    .set_pte = xen_pv_set_pte,
    .console_write = xen_console_write,
    .console_read = xen_console_read,
    .clock_ns = xen_clock_ns,
    .wall_clock_s = xen_wall_clock_s,
    .set_timer = xen_set_timer,
    .null_call = xen_null_call,
    .shutdown = xen_shutdown,
};

/* The ring that a toolstack gives a domU, if there is one. */
static void start_console(const struct start_info *start)
{
    bool has_ring = !(start->flags & START_FLAG_DOM0) && start->console_mfn != 0;

    xen_console_init(has_ring ? xen_pv_page_of_mfn(start->console_mfn) : NULL, start->console_port);
}

void xen_pv_start(const struct start_info *start)
{
    const struct memory_region regions[] = {
        { "start info page", start, PAGE_BYTES },
        { "p2m: the machine frame of each page", start->p2m, start->page_count * sizeof *start->p2m },
        { "page tables Xen built", start->page_table, start->page_table_frames * PAGE_BYTES },
    };
    struct boot_info boot = {
        .door = "xen_pv",
        .transfer = PV_TRANSFER,
        .command_line = start->command_line,
        .door_ops = &ops,
        .memory_pages = start->page_count,
        .regions = regions,
        .region_count = ARRAY_LENGTH(regions),
    };

    pv_ops = ops;
    xen_pv_start_info = start;
    xen_pv_map_mfn(&xen_shared_info, start->shared_info_address / PAGE_BYTES);
    xen_pv_traps_init();
    start_console(start);
    xen_clock_init();
    boot.hypervisor = xen_describe();
    boot.root_frame = xen_pv_root_frame();
    demo_main(&boot);
}
