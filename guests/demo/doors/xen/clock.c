/* Time from the shared info page: no call into the hypervisor, only RDTSC and arithmetic (Xen public/xen.h,
 * vcpu_time_info). The timer is VCPUOP_set_singleshot_timer, which raises VIRQ_TIMER. */
#include "hypercall.h"
#include "xen.h"

/* The product has 96 bits; the upper half is done by itself. */
static u64 scale(u64 ticks, u32 multiplier, int shift)
{
    ticks = shift < 0 ? ticks >> -shift : ticks << shift;
    return (ticks >> 32) * multiplier + ((ticks & 0xffffffff) * multiplier >> 32);
}

u64 xen_clock_ns(void)
{
    const struct time_info *time = &xen_shared_info.vcpu[0].time;
    u32 version;
    u64 ns;

    do {
        version = time->version;
        compiler_barrier();
        ns = time->system_time_ns + scale(read_tsc() - time->tsc, time->multiplier, time->shift);
        compiler_barrier();
    } while (version & 1 || version != time->version);
    return ns;
}

/* The shared page holds the wall clock of the moment when system time was 0. */
u64 xen_wall_clock_s(void)
{
    const struct shared_info *shared = &xen_shared_info;
    u64 seconds, nanoseconds;
    u32 version;

    do {
        version = shared->wall_version;
        compiler_barrier();
        seconds = (u64)shared->wall_seconds_high << 32 | shared->wall_seconds;
        nanoseconds = shared->wall_nanoseconds;
        compiler_barrier();
    } while (version & 1 || version != shared->wall_version);
    return seconds + (nanoseconds + xen_clock_ns()) / 1000000000;
}

void xen_set_timer(u64 deadline_ns)
{
    struct {
        u64 deadline_ns;
        u32 flags;
    } timer = { .deadline_ns = deadline_ns };

    hypercall3(HYPERCALL_VCPU_OP, VCPUOP_SET_SINGLESHOT_TIMER, 0, (word)&timer);
}

void xen_clock_init(void)
{
    hypercall3(HYPERCALL_VCPU_OP, VCPUOP_STOP_PERIODIC_TIMER, 0, 0); /* on by default, 100 Hz */
    xen_on_virq(VIRQ_TIMER, timer_fired);
}
