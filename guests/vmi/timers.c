/* Cycle counters, alarms and wall-clock time; sleeping until an alarm. */
#include "vmi.h"

enum { REAL, AVAILABLE, STOLEN };
enum { PERIODIC = 0x100, WIRED_LVTT = 0x10000 };
enum { LVT_TIMER = 0x320, TIMER_VECTOR = 0x30 };

static u64 cycles(u32 counter) {
  check("GetCycleCounter returns", vmi(GetCycleCounter, counter, 0, 0, 0, 0) == NONE);
  return RESULT64;
}

/* The same without a call. */
static u64 ticks(void) {
  u64 value;
  __asm__ volatile("rdtsc" : "=A"(value));
  return value;
}

static int set_alarm(u32 flags, u64 expiry, u32 period) {
  return vmi(SetAlarm, flags, (u32)expiry, (u32)(expiry >> 32), period, 0);
}

static void sleep_until(volatile u32 *count, u32 wanted) {
  while (*count < wanted) vmi(Halt, 0, 0, 0, 0, 0);
  vmi(DisableInterrupts, 0, 0, 0, 0, 0);
}

static u32 test_counters(void) {
  section("GetCycleFrequency, GetCycleCounter, GetWallclockTime, WallclockUpdated");
  check("GetCycleFrequency returns", vmi(GetCycleFrequency, 0, 0, 0, 0, 0) == NONE);
  u32 millisecond = RESULT / 1000;
  check("a frequency of a megahertz and more", RESULT >= 1000000);
  u64 first = cycles(REAL);
  check("real cycles go on", cycles(REAL) > first);
  check("all of them are available", cycles(AVAILABLE) > first);
  check("none is stolen", cycles(STOLEN) == 0);
  check("a counter that there is not", cycles(3) == 0);
  check("GetWallclockTime returns", vmi(GetWallclockTime, 0, 0, 0, 0, 0) == NONE);
  u64 wallclock = RESULT64;
  vmi(GetWallclockTime, 0, 0, 0, 0, 0);
  check("wall-clock time goes on", RESULT64 > wallclock);
  check("WallclockUpdated returns", vmi(WallclockUpdated, 0, 0, 0, 0, 0) == NONE);
  check_equal("and it has not been set", RESULT, 0);
  return millisecond;
}

/* An alarm at the local APIC's entry, whose interrupt is another than IRQ 0. */
static void test_local_alarm(u32 millisecond, u32 before) {
  write32(LOCAL_APIC + LVT_TIMER, TIMER_VECTOR);
  set_alarm(REAL | WIRED_LVTT, cycles(REAL) + 5 * millisecond, 0);
  sleep_until(&apic_interrupts, 1);
  check_equal("one at the local APIC's entry comes there", apic_interrupts, 1);
  check_equal("and not at IRQ 0", timer_interrupts, before);
  write32(LOCAL_APIC + LVT_TIMER, 0x10000);
}

static void test_alarms(u32 millisecond, int local) {
  section("SetAlarm, CancelAlarm, Halt");
  unmask_timer();
  u64 expiry = cycles(REAL) + millisecond;
  check("SetAlarm returns", set_alarm(REAL, expiry, 0) == NONE);
  sleep_until(&timer_interrupts, timer_interrupts + 1);
  check("an alarm comes when it is due", cycles(REAL) >= expiry);
  u32 before = timer_interrupts;
  set_alarm(AVAILABLE | PERIODIC, cycles(AVAILABLE), millisecond);
  sleep_until(&timer_interrupts, before + 3);
  check("CancelAlarm returns", vmi(CancelAlarm, AVAILABLE | PERIODIC, 0, 0, 0, 0) == NONE);
  before = timer_interrupts;
  for (u64 end = ticks() + 3 * millisecond; ticks() < end;) {
  }
  check_equal("no alarm comes that was cancelled", timer_interrupts, before);
  if (local) test_local_alarm(millisecond, before);
  mask_timer();
}

static void test_wrong_alarms(u32 millisecond) {
  check("an alarm of stolen cycles returns", set_alarm(STOLEN, cycles(REAL), 0) == NONE);
  check("one with unknown flags", set_alarm(0x200, cycles(REAL), 0) == NONE);
  check("one with a period of 0", set_alarm(PERIODIC, cycles(REAL), 0) == NONE);
  check("CancelAlarm of a counter that there is not", vmi(CancelAlarm, 7, 0, 0, 0, 0) == NONE);
  u32 before = timer_interrupts + apic_interrupts;
  unmask_timer();
  set_alarm(REAL, ~0ull, 0);
  set_alarm(AVAILABLE, cycles(REAL) + millisecond, 0);
  u32 wanted = timer_interrupts + 1;
  sleep_until(&timer_interrupts, wanted);
  check_equal("none of them comes, and one at the end of time does not", timer_interrupts + apic_interrupts, before + 1);
  vmi(CancelAlarm, REAL, 0, 0, 0, 0);
  mask_timer();
}

void test_timers(int local) {
  if (!is_called(GetCycleFrequency)) return;
  u32 millisecond = test_counters();
  test_alarms(millisecond, local);
  test_wrong_alarms(millisecond);
}
