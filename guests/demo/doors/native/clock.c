/* Time by the TSC, measured once against the 8254; interrupts by the 8254 (82C54 data sheet); the date from the CMOS clock. */
#include "native.h"

enum { PIT_HZ = 1193182, PIT_CHANNEL_0 = 0x40, PIT_CHANNEL_2 = 0x42, PIT_COMMAND = 0x43, PIT_MOST = 0xffff };
enum { ONE_SHOT_0 = 0x30, ONE_SHOT_2 = 0xb0 }; /* both bytes, mode 0: the output rises when the count is over */
enum { SPEAKER = 0x61, SPEAKER_GATE = 1, SPEAKER_OUTPUT = 0x20 };
enum { MEASURED_TICKS = PIT_HZ / 100, NS_PER_S = 1000000000 };

static u64 tsc_hz, tsc_start, deadline;

static void set_count(u16 channel, u8 command, u32 ticks)
{
    write_port8(PIT_COMMAND, command);
    write_port8(channel, (u8)ticks);
    write_port8(channel, (u8)(ticks >> 8));
}

/* Reading a port costs a visit to whoever emulates it; a fraction of a microsecond does no harm. */
static void rest(void)
{
    for (volatile word i = 0; i < 100; i++)
        ;
}

void native_clock_init(void)
{
    u64 start;

    set_count(PIT_CHANNEL_0, ONE_SHOT_0, PIT_MOST);
    write_port8(SPEAKER, SPEAKER_GATE);
    set_count(PIT_CHANNEL_2, ONE_SHOT_2, MEASURED_TICKS);
    start = read_tsc();
    while (!(read_port8(SPEAKER) & SPEAKER_OUTPUT))
        rest();
    tsc_start = read_tsc();
    tsc_hz = (tsc_start - start) * PIT_HZ / MEASURED_TICKS;
}

u64 native_clock_ns(void)
{
    u64 passed = read_tsc() - tsc_start;

    return passed / tsc_hz * NS_PER_S + passed % tsc_hz * NS_PER_S / tsc_hz;
}

/* ---- timer ---- */

static void arm(void)
{
    u64 now = native_clock_ns(), ticks = now < deadline ? (deadline - now) * PIT_HZ / NS_PER_S + 1 : 1;

    set_count(PIT_CHANNEL_0, ONE_SHOT_0, ticks < PIT_MOST ? (u32)ticks : PIT_MOST);
}

void native_set_timer(u64 deadline_ns)
{
    deadline = deadline_ns;
    arm();
}

void native_timer_interrupt(void)
{
    if (deadline == 0)
        return;
    if (native_clock_ns() < deadline) {
        arm();
        return;
    }
    deadline = 0;
    timer_fired();
}

/* ---- date: MC146818 data sheet, "Address Map" ---- */

enum { CMOS_INDEX = 0x70, CMOS_DATA = 0x71 };
enum { RTC_SECOND = 0, RTC_MINUTE = 2, RTC_HOUR = 4, RTC_DAY = 7, RTC_MONTH = 8, RTC_YEAR = 9, RTC_A = 0xa, RTC_B = 0xb };
enum { RTC_UPDATING = 0x80, RTC_BINARY = 4 };

static u8 cmos(u8 index)
{
    write_port8(CMOS_INDEX, index);
    return read_port8(CMOS_DATA);
}

static u32 rtc(u8 index)
{
    u8 value = cmos(index);

    return cmos(RTC_B) & RTC_BINARY ? value : (u32)(value >> 4) * 10 + (value & 15);
}

/* Days from 1970-01-01 to a day of the Gregorian calendar in this century. */
static u32 days_to(u32 year, u32 month, u32 day)
{
    static const u16 before[12] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    u32 since_1970 = year + 2000 - 1970, leap_days = (since_1970 + 1) / 4;

    if (year % 4 == 0 && month > 2)
        leap_days++;
    return since_1970 * 365 + leap_days + before[month - 1] + day - 1;
}

u64 native_wall_clock_s(void)
{
    while (cmos(RTC_A) & RTC_UPDATING)
        ;
    return (u64)days_to(rtc(RTC_YEAR), rtc(RTC_MONTH), rtc(RTC_DAY)) * 86400 + rtc(RTC_HOUR) * 3600 +
           rtc(RTC_MINUTE) * 60 + rtc(RTC_SECOND);
}
