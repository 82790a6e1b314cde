/* Commands that show something: ops, time, mem. */
#include "commands.h"
#include "print.h"

/* ---- ops ---- */

static void show_slot(const char *door, const char *slot, const void *now, const void *filled, const char *what)
{
    if (now == filled)
        print("  %-14s 0x%llx  %s_%s: %s\n", slot, address_of(now), door, slot, what);
    else
        print("  %-14s 0x%llx  replaced since boot: %s\n", slot, address_of(now), what);
}

void command_ops(const struct boot_info *boot, const char *argument)
{
    (void)argument;
    print("table pv_ops at 0x%llx, door %s, %s\n", address_of(&pv_ops), boot->door, boot->transfer);
#define OP(result, slot, arguments, what) \
    show_slot(boot->door, #slot, (const void *)pv_ops.slot, (const void *)boot->door_ops->slot, what);
    PV_OPS(OP)
#undef OP
}

/* ---- time ---- */

enum { NS_PER_US = 1000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static volatile bool timer_is_due;

void timer_fired(void)
{
    timer_is_due = true;
}

struct date {
    u64 year, month, day;
};

/* Days since 1970-01-01 to a date of the Gregorian calendar, one year and month at a time. */
static struct date date_of(u64 days)
{
    static const u8 month_days[12] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    struct date date = { .year = 1970, .month = 1 };

    for (;;) {
        bool leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
        u64 in_month = month_days[date.month - 1] + (date.month == 2 && leap ? 1U : 0U);

        if (days < in_month)
            break;
        days -= in_month;
        if (++date.month > 12) {
            date.month = 1;
            date.year++;
        }
    }
    date.day = days + 1;
    return date;
}

static void show_wall_clock(u64 seconds)
{
    struct date date = date_of(seconds / 86400);

    print("wall clock   %04llu-%02llu-%02llu %02llu:%02llu:%02llu UTC\n", date.year, date.month, date.day,
          seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
}

/* Sleeps until the timer interrupt; any other interrupt only wakes us to look again. */
static void sleep_until(u64 deadline_ns)
{
    timer_is_due = false;
    pv_ops.set_timer(deadline_ns);
    for (;;) {
        pv_ops.irq_disable();
        if (timer_is_due)
            break;
        pv_ops.halt();
    }
    pv_ops.irq_enable();
}

void command_time(const struct boot_info *boot, const char *argument)
{
    u64 start_ns = pv_ops.clock_ns(), start_tsc = read_tsc(), deadline_ns = start_ns + 20 * NS_PER_MS;
    u64 end_ns, end_tsc;

    (void)boot, (void)argument;
    print("clock        %llu.%06llu s\n", start_ns / NS_PER_S, start_ns % NS_PER_S / NS_PER_US);
    show_wall_clock(pv_ops.wall_clock_s());
    sleep_until(deadline_ns);
    end_ns = pv_ops.clock_ns();
    end_tsc = read_tsc();
    print("timer        asked for 20 ms, came %llu us after that\n",
          (end_ns > deadline_ns ? end_ns - deadline_ns : 0) / NS_PER_US);
    print("TSC          %llu kHz\n", (end_tsc - start_tsc) * NS_PER_MS / (end_ns - start_ns));
}

/* ---- mem ---- */

static u64 page_a[PAGE_BYTES / sizeof(u64)] __attribute__((aligned(4096)));
static u64 page_b[PAGE_BYTES / sizeof(u64)] __attribute__((aligned(4096)));

extern char image_start[], image_end[];

/* The image lies at a fixed distance from guest-physical memory: demo.ld. */
static u64 frame_of(const void *page)
{
    extern char image_virtual_base[];

    return (word)(page - (const void *)image_virtual_base) / PAGE_BYTES;
}

/* Maps page_a to the frame of page_b, looks, and puts it back. */
static void show_remap(void)
{
    volatile u64 *a = page_a;
    u64 before, during, after;

    page_a[0] = 0xaaaa;
    page_b[0] = 0xbbbb;
    before = a[0];
    pv_ops.set_pte(page_a, (word)frame_of(page_b));
    during = a[0];
    pv_ops.set_pte(page_a, (word)frame_of(page_a));
    after = a[0];
    print("set_pte: page 0x%llx read %llx in frame %llu, %llx in frame %llu, %llx back again: %s\n", address_of(page_a), before,
          frame_of(page_a), during, frame_of(page_b), after,
          before == 0xaaaa && during == 0xbbbb && after == 0xaaaa ? "right" : "WRONG");
}

void command_mem(const struct boot_info *boot, const char *argument)
{
    const struct memory_region image = { "this image", image_start, (word)(image_end - image_start) };

    (void)argument;
    print("%llu pages of %llu bytes, page-table root in frame %llu\n", (u64)boot->memory_pages, (u64)PAGE_BYTES,
          (u64)boot->root_frame);
    for (word i = 0; i <= boot->region_count; i++) {
        const struct memory_region *region = i == 0 ? &image : &boot->regions[i - 1];

        print("  0x%llx  %8llu bytes  %s\n", address_of(region->start), (u64)region->bytes, region->what);
    }
    show_remap();
}
