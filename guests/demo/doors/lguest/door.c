/*
 * Door lguest: at CPL 1 on lguest's hypercalls, with the page tables of PAE. The ELF header's entry comes here when
 * boot_params says that it is lguest (hardware_subarch).
 */
#include "../../core/trap.h"
#include "lguest.h"
#include "stubs.h"
#include "tables.h"

enum { NS_PER_S = 1000000000 };

struct lguest_data lguest_data __attribute__((aligned(4096)));
/* What lguest's own tools, and Polyvisor's plug-in, know a kernel with guest support by. */
static const char *volatile const name = "lguest";
static u64 tsc_start;

void lguest_call(enum lguest_call call, word a, word b, word c, word d)
{
    __asm__ volatile("int $0x1f" : "+a"(call) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory", "cc");
}

/* ---- ops ---- */

static void lguest_irq_enable(void)
{
    lguest_data.irq_enabled = EFLAGS_IF;
    compiler_barrier();
    if (lguest_data.irq_pending)
        lguest_call(LHCALL_SEND_INTERRUPTS, 0, 0, 0, 0);
}

static void lguest_irq_disable(void)
{
    lguest_data.irq_enabled = 0;
    compiler_barrier();
}

static void lguest_halt(void)
{
    lguest_call(LHCALL_HALT, 0, 0, 0, 0); /* lets interrupts in by itself */
}

static void lguest_write_cr3(word root_frame)
{
    lguest_call(LHCALL_NEW_PGTABLE, root_frame * PAGE_BYTES, 0, 0, 0);
}

static void lguest_flush_tlb(void)
{
    lguest_call(LHCALL_FLUSH_TLB, 1, 0, 0, 0);
}

void lguest_set_pte(void *page, word frame)
{
    u64 entry = entry_for(frame);

    *entry_of(page) = entry;
    lguest_call(LHCALL_SET_PTE, physical(page_directory_pointers), (word)page, (word)entry, (word)(entry >> 32));
}

static u64 lguest_clock_ns(void)
{
    u64 passed = read_tsc() - tsc_start, hz = (u64)lguest_data.tsc_khz * 1000;

    return passed / hz * NS_PER_S + passed % hz * NS_PER_S / hz;
}

static u64 lguest_wall_clock_s(void)
{
    lguest_call(LHCALL_FLUSH_ASYNC, 0, 0, 0, 0); /* the host writes the time when something happens */
    return lguest_data.seconds;
}

static void lguest_set_timer(u64 deadline_ns)
{
    u64 now = lguest_clock_ns(), delta = now < deadline_ns ? deadline_ns - now : 1;

    lguest_call(LHCALL_SET_CLOCKEVENT, delta < 0xffffffff ? (word)delta : 0xffffffff, 0, 0, 0);
}

static void lguest_null_call(void)
{
    lguest_call(LHCALL_FLUSH_ASYNC, 0, 0, 0, 0);
}

static void lguest_shutdown(enum shutdown_reason reason)
{
    static const char power_down[] = "Power down", crash[] = "the demo guest crashed";
    const char *message = reason == SHUTDOWN_CRASH ? crash : power_down;
    word how = reason == SHUTDOWN_REBOOT ? LGUEST_SHUTDOWN_RESTART : LGUEST_SHUTDOWN_POWEROFF;

    for (;;)
        lguest_call(LHCALL_SHUTDOWN, physical(message), how, 0, 0);
}

static const struct pv_ops ops = {
#define OP(result, slot, arguments, what) .slot = lguest_##slot,
    PV_OPS(OP)
#undef OP
};

/* ---- traps ---- */

static void trap(struct trap_frame *frame)
{
    if (frame->vector < FIRST_IRQ_VECTOR)
        handle_trap(frame, lguest_data.cr2);
    else if (frame->vector == FIRST_IRQ_VECTOR + IRQ_CLOCK)
        timer_fired();
    /* The console's only has to end halt(). */
}

void lguest_unblock(u32 irq)
{
    lguest_data.blocked_interrupts &= ~(1U << irq);
}

static void load_gates(void)
{
    trap_handler = trap;
    trap_return = lguest_return;
    for (word vector = 0; vector < FIRST_IRQ_VECTOR + LGUEST_IRQS && vector < TRAP_STUBS; vector++) {
        word address = (word)trap_stub(vector);

        /* Words of an interrupt gate of level 0 (Intel SDM vol. 3A, figure 6-2). */
        if (vector != 0x1f)
            lguest_call(LHCALL_LOAD_IDT_ENTRY, vector, (word)KERNEL_CS << 16 | (address & 0xffff),
                        (address & 0xffff0000) | 0x8e00, 0);
    }
}

/* ---- start ---- */

static void register_data(void)
{
    lguest_data.blocked_interrupts = ~(1U << IRQ_CLOCK);
    lguest_data.noirq_start = lguest_iret_start;
    lguest_data.noirq_end = lguest_iret_end;
    lguest_data.kernel_address = (u32)image_virtual_base;
    lguest_data.syscall_vec = SYSCALL_VECTOR;
    for (word i = 0; i < LHCALL_RING_SIZE; i++)
        lguest_data.ring_status[i] = LHCALL_RING_EMPTY;
    lguest_call(LHCALL_LGUEST_INIT, physical(&lguest_data), 0, 0, 0);
    tsc_start = read_tsc();
}

/* boot_params, which lie at 0 (Linux Documentation/arch/x86/zero-page.rst). */
enum { COMMAND_LINE_POINTER = 0x228, FIRST_E820_BYTES = 0x2d8 };

void lguest_start(word boot_params)
{
    const char *parameters = at_physical(boot_params);
    struct boot_info boot = {
        .door = name,
        .hypervisor = "lguest's launcher",
        .transfer = "INT 0x1f",
        .command_line = at_physical(*(const u32 *)(parameters + COMMAND_LINE_POINTER)),
        .door_ops = &ops,
        .memory_pages = (word)(*(const u64 *)(parameters + FIRST_E820_BYTES) / PAGE_BYTES),
        .root_frame = physical(page_directory_pointers) / PAGE_BYTES,
    };

    register_data();
    load_gates();
    page_directory_pointers[0] = 0;
    lguest_write_cr3(boot.root_frame);
    pv_ops = ops;
    lguest_console_init(boot.memory_pages);
    demo_main(&boot);
}
