/*
 * Door xen_pvh: a domain of Xen's on page tables and interrupts of its own (Xen docs/misc/pvh.pandoc). The processor is
 * ours; console, clock and events are Xen's.
 */
#include "../../core/trap.h"
#include "../native/native.h"
#include "../xen/hypercall.h"
#include "../xen/xen.h"

static const struct pv_ops ops = {
    .irq_enable = native_irq_enable,
    .irq_disable = native_irq_disable,
    .halt = native_halt,
    .write_cr3 = native_write_cr3,
    .flush_tlb = native_flush_tlb,
    .set_pte = native_set_pte,
    .console_write = xen_console_write,
    .console_read = xen_console_read,
    .clock_ns = xen_clock_ns,
    .wall_clock_s = xen_wall_clock_s,
    .set_timer = xen_set_timer,
    .null_call = xen_null_call,
    .shutdown = xen_shutdown,
};

/* struct hvm_start_info and its memory map (Xen public/arch-x86/hvm/start_info.h). */
struct start {
    u32 magic, version, flags, modules;
    u64 module_list, command_line, rsdp, memory_map;
    u32 memory_map_entries, reserved;
};

struct map_entry {
    u64 start, bytes;
    u32 type, reserved;
};

enum { MAP_RAM = 1, LEAF_BASE = 0x40000000, LEAF_STEP = 0x100, LEAF_LAST = 0x40010000, SIGNATURE_EBX = 0x566e6558 };
enum { XENMEM_ADD_TO_PHYSMAP = 7, XENMAPSPACE_SHARED_INFO = 0, HVMOP_SET_PARAM = 0, HVMOP_GET_PARAM = 1 };
enum { HVM_PARAM_CALLBACK_IRQ = 0, HVM_PARAM_CONSOLE_PFN = 17, HVM_PARAM_CONSOLE_EVTCHN = 18 };
#define CALLBACK_BY_VECTOR (2ULL << 56)

static char console_page[PAGE_BYTES] __attribute__((aligned(4096)));

static void trap(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_EVENT)
        xen_handle_events();
    else
        handle_trap(frame, read_cr2());
}

static void cpuid(u32 leaf, u32 *eax, u32 *ebx)
{
    u32 ecx = 0, edx;

    __asm__ volatile("cpuid" : "=a"(*eax), "=b"(*ebx), "+c"(ecx), "=d"(edx) : "0"(leaf));
}

/* Xen public/arch-x86/cpuid.h: its leaves, of which the third names the MSR that takes the page's address. */
static bool place_hypercall_page(void)
{
    u32 eax, ebx;

    for (u32 base = LEAF_BASE; base < LEAF_LAST; base += LEAF_STEP) {
        cpuid(base, &eax, &ebx);
        if (ebx != SIGNATURE_EBX)
            continue;
        cpuid(base + 2, &eax, &ebx);
        __asm__ volatile("wrmsr" :: "c"(ebx), "a"(physical(hypercall_page)), "d"(0) : "memory");
        return true;
    }
    return false;
}

static void map_shared_info(void)
{
    struct {
        u16 domain, size;
        u32 space;
        word index, frame;
    } map = { DOMID_SELF, 0, XENMAPSPACE_SHARED_INFO, 0, physical(&xen_shared_info) / PAGE_BYTES };

    hypercall2(HYPERCALL_MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (word)&map);
}

static u64 hvm_param(u32 operation, u32 index, u64 value)
{
    struct {
        u16 domain, padding;
        u32 index;
        u64 value;
    } param = { DOMID_SELF, 0, index, value };

    hypercall2(HYPERCALL_HVM_OP, operation, (word)&param);
    return param.value;
}

static void start_console(void)
{
    u64 frame = hvm_param(HVMOP_GET_PARAM, HVM_PARAM_CONSOLE_PFN, 0);

    native_set_pte(console_page, (word)frame);
    xen_console_init((struct console_ring *)console_page, (u32)hvm_param(HVMOP_GET_PARAM, HVM_PARAM_CONSOLE_EVTCHN, 0));
}

static word pages_of(const struct start *start)
{
    const struct map_entry *map = at_physical((word)start->memory_map);
    u64 pages = 0;

    for (u32 i = 0; i < start->memory_map_entries; i++)
        if (map[i].type == MAP_RAM)
            pages += map[i].bytes / PAGE_BYTES;
    return (word)pages;
}

void xen_pvh_start(word eax, word info)
{
    const struct start *start = at_physical(info);
    const struct memory_region regions[] = {
        { "start info", start, sizeof *start },
        { "hypercall page", hypercall_page, PAGE_BYTES },
        { "shared info", &xen_shared_info, PAGE_BYTES },
    };
    struct boot_info boot = {
        .door = "xen_pvh",
        .transfer = "VMCALL or VMMCALL, through the hypercall page",
        .command_line = at_physical((word)start->command_line),
        .door_ops = &ops,
        .memory_pages = pages_of(start),
        .root_frame = native_root_frame(),
        .regions = regions,
        .region_count = ARRAY_LENGTH(regions),
    };

    (void)eax;
    pv_ops = ops;
    native_processor_init(trap);
    if (!place_hypercall_page())
        __builtin_trap();
    map_shared_info();
    hvm_param(HVMOP_SET_PARAM, HVM_PARAM_CALLBACK_IRQ, CALLBACK_BY_VECTOR | VECTOR_EVENT);
    start_console();
    xen_clock_init();
    boot.hypervisor = xen_describe();
    demo_main(&boot);
}
