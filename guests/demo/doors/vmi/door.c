/*
 * Door vmi: booted natively, then moved onto a VMI ROM's calls, as Linux 2.6.21 to 2.6.36 did. Each slot makes its call, or
 * does as door native where the ROM wants the native code kept (Linux 2.6.32, arch/x86/include/asm/{vmi,vmi_time}.h).
 */
#include "vmi.h"
#include "../native/native.h"
#include "rom.h"
#include "stubs.h"

#define OP(result, slot, arguments, what) static DECLARE_DOOR_OP(vmi, result, slot, arguments)
PV_OPS(OP)
#undef OP

static const struct pv_ops ops = {
#define OP(result, slot, arguments, what) .slot = vmi_##slot,
    PV_OPS(OP)
#undef OP
};

enum { SHUTDOWN_OF_MACHINE = 0, FLUSH_TLB = 1, FLUSH_GLOBAL = 2 };
enum { CYCLES_REAL = 0, NS_PER_S = 1000000000 };

static u64 cycles_hz, cycles_start, deadline;

static void vmi_irq_enable(void)
{
    if (!rom_call(CALL_EnableInterrupts, 0, 0, 0, 0, 0))
        native_irq_enable();
}

static void vmi_irq_disable(void)
{
    if (!rom_call(CALL_DisableInterrupts, 0, 0, 0, 0, 0))
        native_irq_disable();
}

static void vmi_halt(void)
{
    if (!rom_call(CALL_Halt, 0, 0, 0, 0, 0))
        native_halt();
}

static void vmi_write_cr3(word root_frame)
{
    if (!rom_call(CALL_SetCR3, root_frame * PAGE_BYTES, 0, 0, 0, 0))
        native_write_cr3(root_frame);
}

static void vmi_flush_tlb(void)
{
    if (!rom_call(CALL_FlushTLB, FLUSH_TLB | FLUSH_GLOBAL, 0, 0, 0, 0))
        native_flush_tlb();
}

static void vmi_set_pte(void *page, word frame)
{
    u64 entry = entry_for(frame);

    if (!rom_call(CALL_SetPxELong, (u32)entry, (u32)(entry >> 32), (u32)entry_of(page), 0, 0)) {
        native_set_pte(page, frame);
        return;
    }
    if (!rom_call(CALL_InvalPage, (u32)page, 0, 0, 0, 0))
        __asm__ volatile("invlpg (%0)" :: "r"(page) : "memory");
}

/* The ABI has no console: the PC's. */
static void vmi_console_write(const char *text, word bytes)
{
    native_console_write(text, bytes);
}

static word vmi_console_read(char *text, word bytes)
{
    return native_console_read(text, bytes);
}

static u64 cycles(void)
{
    u64 result;

    rom_call(CALL_GetCycleCounter, CYCLES_REAL, 0, 0, 0, &result);
    return result;
}

static u64 vmi_clock_ns(void)
{
    u64 passed;

    if (cycles_hz == 0)
        return native_clock_ns();
    passed = cycles() - cycles_start;
    return passed / cycles_hz * NS_PER_S + passed % cycles_hz * NS_PER_S / cycles_hz;
}

static u64 vmi_wall_clock_s(void)
{
    u64 ns;

    return rom_call(CALL_GetWallclockTime, 0, 0, 0, 0, &ns) ? ns / NS_PER_S : native_wall_clock_s();
}

/* By the interrupt of the 8254, whose own counter is silent from now on. */
static void vmi_set_timer(u64 deadline_ns)
{
    u64 expiry;

    if (cycles_hz == 0) {
        native_set_timer(deadline_ns);
        return;
    }
    deadline = deadline_ns;
    expiry = cycles_start + deadline_ns / NS_PER_S * cycles_hz + deadline_ns % NS_PER_S * cycles_hz / NS_PER_S + 1;
    rom_call(CALL_SetAlarm, CYCLES_REAL, (u32)expiry, (u32)(expiry >> 32), 0, 0);
}

static void vmi_null_call(void)
{
    if (!rom_call(CALL_GetInterruptMask, 0, 0, 0, 0, 0))
        native_null_call();
}

static void vmi_shutdown(enum shutdown_reason reason)
{
    if (reason == SHUTDOWN_POWEROFF)
        rom_call(CALL_Shutdown, SHUTDOWN_OF_MACHINE, 0, 0, 0, 0);
    else if (reason == SHUTDOWN_REBOOT)
        rom_call(CALL_Reboot, SHUTDOWN_OF_MACHINE, 0, 0, 0, 0);
    native_shutdown(reason);
}

bool vmi_timer_interrupt(void)
{
    if (deadline == 0 || vmi_clock_ns() < deadline)
        return deadline != 0;
    deadline = 0;
    timer_fired();
    return true;
}

void activate_vmi(struct boot_info *boot)
{
    const void *iret = return_by_iret;

    if (!rom_find())
        return;
    rom_jump_target(CALL_IRET, &iret);
    trap_return = iret;
    cycles_hz = rom_result32(CALL_GetCycleFrequency);
    if (cycles_hz != 0)
        cycles_start = cycles();
    pv_ops = ops;
    boot->door = "vmi";
    boot->door_ops = &ops;
    boot->hypervisor = rom_describe();
    boot->transfer = "into the ROM, where it does not keep native code";
}
