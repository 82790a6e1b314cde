/*
 * Door xen_pv: a 64-bit paravirtual domain of Xen, or of anything that speaks its interface.
 *
 * Xen has built the page tables and started us in 64-bit mode at CPL 3; nothing privileged is ours to do. This file
 * fills pv_ops and hands over to the core.
 */
#include "hypercall.h"
#include "xen_pv.h"

const struct start_info *xen_pv_start_info;

static const struct pv_ops ops = {
#define OP(result, slot, arguments, what) .slot = xen_pv_##slot,
    PV_OPS(OP)
#undef OP
};

/* ---- ops of the CPU as a whole; the others are in the files of their subject ---- */

void xen_pv_halt(void)
{
    hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_BLOCK, 0); /* lets events in by itself */
}

void xen_pv_null_call(void)
{
    hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
}

void xen_pv_shutdown(enum shutdown_reason reason)
{
    static const u32 codes[] = {
        [SHUTDOWN_POWEROFF] = XEN_SHUTDOWN_POWEROFF,
        [SHUTDOWN_REBOOT] = XEN_SHUTDOWN_REBOOT,
        [SHUTDOWN_CRASH] = XEN_SHUTDOWN_CRASH,
    };

    for (;;)
        hypercall2(HYPERCALL_SCHED_OP, SCHEDOP_SHUTDOWN, (u64)&codes[reason]);
}

/* ---- start ---- */

static char *append_text(char *at, const char *text)
{
    while (*text != '\0')
        *at++ = *text++;
    *at = '\0';
    return at;
}

static char *append_number(char *at, u64 value)
{
    if (value >= 10)
        at = append_number(at, value / 10);
    *at++ = (char)('0' + value % 10);
    *at = '\0';
    return at;
}

/* "Xen 4.17.1, console: ring" */
static const char *describe_hypervisor(void)
{
    static char text[64];
    char extra[16];
    u64 version = (u64)hypercall2(HYPERCALL_XEN_VERSION, XENVER_VERSION, 0);
    char *end = append_text(text, "Xen ");

    end = append_number(end, version >> 16);
    end = append_text(end, ".");
    end = append_number(end, version & 0xffff);
    if (hypercall2(HYPERCALL_XEN_VERSION, XENVER_EXTRAVERSION, (u64)extra) >= 0) {
        extra[sizeof extra - 1] = '\0';
        end = append_text(end, extra);
    }
    end = append_text(end, ", console: ");
    append_text(end, xen_pv_console_name());
    return text;
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
        .transfer = "SYSCALL, through the hypercall page",
        .command_line = start->command_line,
        .door_ops = &ops,
        .memory_pages = start->page_count,
        .regions = regions,
        .region_count = ARRAY_LENGTH(regions),
    };

    pv_ops = ops;
    xen_pv_start_info = start;
    xen_pv_map_mfn(&xen_pv_shared_info, start->shared_info_address / PAGE_BYTES);
    xen_pv_traps_init();
    xen_pv_console_init();
    xen_pv_clock_init();
    boot.hypervisor = describe_hypervisor();
    boot.root_frame = xen_pv_root_frame();
    demo_main(&boot);
}
