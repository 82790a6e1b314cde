/* Door native: Multiboot, or the ELF header's entry with a Linux kernel's zero page. Where a VMI ROM is found, it goes on there. */
#include "../../core/trap.h"
#include "../vmi/vmi.h"
#include "native.h"

static const struct pv_ops ops = {
#define OP(result, slot, arguments, what) .slot = native_##slot,
    PV_OPS(OP)
#undef OP
};

static void native_trap(struct trap_frame *frame)
{
    if (frame->vector < FIRST_IRQ_VECTOR) {
        handle_trap(frame, read_cr2());
        return;
    }
    /* That of COM1 only has to end halt(); whoever halted looks at the console itself. */
    if (frame->vector == FIRST_IRQ_VECTOR + IRQ_TIMER && !vmi_timer_interrupt())
        native_timer_interrupt();
    native_end_of_interrupt();
}

void native_null_call(void)
{
    write_port8(0x80, 0); /* there is nobody to visit: a port that nobody listens to */
}

void native_shutdown(enum shutdown_reason reason)
{
    static const struct {
        u16 limit;
        u32 base;
    } __attribute__((packed)) nothing = { 0, 0 };

    native_irq_disable();
    if (reason == SHUTDOWN_POWEROFF)
        write_port16(0x604, 0x3400); /* ACPI's PM1a control register, where this machine has it: S5 */
    else if (reason == SHUTDOWN_REBOOT)
        write_port8(0xcf9, 6); /* reset control register (Intel 82371SB data sheet) */
    /* An exception without an IDT shuts the processor down. */
    __asm__ volatile("lidt %0; ud2" :: "m"(nothing));
    __builtin_unreachable();
}

/* ---- start ---- */

enum { MULTIBOOT_LOADED = 0x2badb002, HAS_MEMORY = 1, HAS_COMMAND_LINE = 4 };

/* Multiboot 0.6.96, 3.3. */
struct multiboot_information {
    u32 flags, lower_kib, upper_kib, boot_device, command_line;
};

/* struct boot_params (Linux Documentation/arch/x86/zero-page.rst). */
enum { E820_ENTRIES = 0x1e8, COMMAND_LINE_POINTER = 0x228, E820_TABLE = 0x2d0, E820_RAM = 1 };

struct e820_entry {
    u64 start, bytes;
    u32 type;
} __attribute__((packed));

static void read_multiboot(struct boot_info *boot, const struct multiboot_information *information)
{
    if (information->flags & HAS_COMMAND_LINE)
        boot->command_line = at_physical(information->command_line);
    if (information->flags & HAS_MEMORY)
        boot->memory_pages = (information->upper_kib + 1024) / (PAGE_BYTES / 1024);
    boot->hypervisor = "a Multiboot loader";
}

static void read_zero_page(struct boot_info *boot, const char *zero_page)
{
    const struct e820_entry *entries = (const void *)(zero_page + E820_TABLE);
    u64 pages = 0;

    for (word i = 0; i < (u8)zero_page[E820_ENTRIES]; i++)
        if (entries[i].type == E820_RAM)
            pages += entries[i].bytes / PAGE_BYTES;
    boot->memory_pages = (word)pages;
    boot->command_line = at_physical(*(const u32 *)(zero_page + COMMAND_LINE_POINTER));
    boot->hypervisor = "a loader of Linux";
}

void native_start(word magic, word multiboot, word zero_page)
{
    struct boot_info boot = {
        .door = "native",
        .transfer = "none, there is no hypervisor to call",
        .command_line = "",
        .door_ops = &ops,
    };

    if (magic == MULTIBOOT_LOADED)
        read_multiboot(&boot, at_physical(multiboot));
    else
        read_zero_page(&boot, at_physical(zero_page));
    native_processor_init(native_trap);
    native_pic_init();
    native_console_init();
    native_clock_init();
    pv_ops = ops;
    boot.root_frame = native_root_frame();
    activate_vmi(&boot);
    demo_main(&boot);
}
