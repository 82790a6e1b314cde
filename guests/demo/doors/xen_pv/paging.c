/*
 * Page tables under Xen PV: real tables, read-only to us, holding machine frames ("mfn"). The p2m list gives the mfn of
 * each frame of ours; a table that Xen keeps for everyone, at the start of its hole, gives the way back.
 */
#include "../xen/hypercall.h"
#include "xen_pv.h"

static const word *const m2p = (const word *)MACHINE_TO_PHYSICAL;

extern char image_virtual_base[];

enum { PTE_PRESENT = 1, PTE_WRITABLE = 2, PTE_ACCESSED = 0x20, PTE_DIRTY = 0x40 };

void xen_pv_map_mfn(void *page, word mfn)
{
    u64 entry = (u64)mfn * PAGE_BYTES | PTE_PRESENT | PTE_WRITABLE | PTE_ACCESSED | PTE_DIRTY;

    update_va_mapping((word)page, entry, UVMF_INVLPG);
}

void xen_pv_set_pte(void *page, word frame)
{
    xen_pv_map_mfn(page, xen_pv_start_info->p2m[frame]);
}

/* Xen mapped our memory from frame 0 on, in order, at the virtual base, at least up to its boot stack. */
void *xen_pv_page_of_mfn(word mfn)
{
    return image_virtual_base + m2p[mfn] * PAGE_BYTES;
}

word xen_pv_root_frame(void)
{
    return ((word)xen_pv_start_info->page_table - (word)image_virtual_base) / PAGE_BYTES;
}

static void mmuext(u32 command, word mfn)
{
    struct {
        u32 command;
        word mfn, unused;
    } operation = { .command = command, .mfn = mfn };

    hypercall4(HYPERCALL_MMUEXT_OP, (word)&operation, 1, 0, DOMID_SELF);
}

void xen_pv_write_cr3(word root_frame)
{
    mmuext(MMUEXT_NEW_BASEPTR, xen_pv_start_info->p2m[root_frame]);
}

void xen_pv_flush_tlb(void)
{
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
}
