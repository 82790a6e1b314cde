/*
 * VMI's calls as hypercalls of a Xen HVM guest. Numbers and layouts: Xen public/xen.h, arch-x86/{xen,cpuid}.h, vcpu.h,
 * event_channel.h, sched.h, memory.h, hvm/{hvm_op,params}.h, for 32-bit guests. A cycle is a tick of the TSC, which Xen says the
 * frequency of, and whose relation to its system time is in shared_info.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

enum { MEMORY_OP = 12, VCPU_OP = 24, SCHED_OP = 29, EVENT_CHANNEL_OP = 32, HVM_OP = 34 };
enum { XENMEM_ADD_TO_PHYSMAP = 7, XENMAPSPACE_SHARED_INFO = 0, DOMID_SELF = 0x7ff0 };
enum { VCPUOP_STOP_PERIODIC_TIMER = 7, VCPUOP_SET_SINGLESHOT_TIMER = 8, VCPUOP_STOP_SINGLESHOT_TIMER = 9 };
enum { SSHOTTMR_FUTURE = 1, ETIME = 62, LEAST_DELAY_NS = 10000 };
enum { EVTCHNOP_BIND_VIRQ = 1, EVTCHNOP_UNMASK = 9, VIRQ_TIMER = 0 };
enum { SCHEDOP_SHUTDOWN = 2, SHUTDOWN_POWEROFF = 0, SHUTDOWN_REBOOT = 1 };
enum { HVMOP_SET_PARAM = 0, HVMOP_FLUSH_TLBS = 5, HVM_PARAM_CALLBACK_IRQ = 0 };
/* The pin of the I/O APIC to which ISA IRQ 0 is wired, as everywhere; the type, 0, is in the top byte. */
enum { CALLBACK_GSI = 2 };
enum { LEAF_BASE = 0x40000000, LEAF_STEP = 0x100, LEAF_END = 0x40010000, SIGNATURE = 0x566e6558 };
enum { LEAF_HYPERCALLS = 2, LEAF_TIME = 3 };

/* Where this ROM lies in guest-physical memory: the plug-in puts all its ROMs there. */
enum { ROM_AT = 0xc8000, PAGE_BYTES = 4096 };

struct time_info {
  volatile u32 version; /* odd: being written */
  u32 reserved;
  u64 tsc, system_time_ns;
  u32 multiplier;
  signed char shift;
  u8 flags[3];
};

struct vcpu_info {
  volatile u8 upcall_pending, upcall_mask;
  volatile u32 pending_words;
  u32 cr2, reserved[5];
  struct time_info time;
};

struct shared_info {
  struct vcpu_info vcpu[32];
  volatile u32 event_pending[32], event_mask[32];
  volatile u32 wall_version;
  u32 wall_seconds, wall_nanoseconds;
  u32 of_the_domain[6];
  u32 wall_seconds_high;
};

#pragma GCC visibility push(hidden)
extern const char rom_start[];
extern const u8 hypercall_page[];
extern struct shared_info shared_info;
#pragma GCC visibility pop

/* ---- hypercalls ---- */

static int hypercall(u32 number, u32 a1, u32 a2, void *a3) {
  int result;
  __asm__ volatile("call *%4"
                   : "=a"(result), "+b"(a1), "+c"(a2), "+d"(a3)
                   : "0"(hypercall_page + 32 * number)
                   : "esi", "edi", "memory", "cc");
  return result;
}

static u32 physical(const void *place) { return ROM_AT + ((u32)place - (u32)rom_start); }

static void cpuid(u32 leaf, u32 *eax, u32 *ebx, u32 *ecx) {
  u32 edx;
  *ecx = 0;
  __asm__ volatile("cpuid" : "=a"(*eax), "=b"(*ebx), "+c"(*ecx), "=d"(edx) : "0"(leaf));
}

static u32 leaf_base, timer_port, wall_version_seen;

static u32 find_xen(void) {
  for (u32 base = LEAF_BASE; base < LEAF_END; base += LEAF_STEP) {
    u32 eax, ebx, ecx;
    cpuid(base, &eax, &ebx, &ecx);
    if (ebx == SIGNATURE) return base;
  }
  return 0;
}

static void place_hypercall_page(void) {
  u32 eax, msr, ecx;
  cpuid(leaf_base + LEAF_HYPERCALLS, &eax, &msr, &ecx);
  __asm__ volatile("wrmsr" : : "c"(msr), "a"(physical(hypercall_page)), "d"(0) : "memory");
}

static int place_shared_info(void) {
  struct {
    u16 domain, size;
    u32 space, index, frame;
  } place = {DOMID_SELF, 0, XENMAPSPACE_SHARED_INFO, 0, physical(&shared_info) / PAGE_BYTES};
  return hypercall(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, (u32)&place, 0);
}

static int bind_timer(void) {
  struct {
    u32 virq, vcpu, port;
  } bind = {VIRQ_TIMER, 0, 0};
  struct {
    u16 domain, padding;
    u32 index;
    u64 value;
  } callback = {DOMID_SELF, 0, HVM_PARAM_CALLBACK_IRQ, CALLBACK_GSI};
  if (hypercall(HVM_OP, HVMOP_SET_PARAM, (u32)&callback, 0) != 0) return -1;
  if (hypercall(EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, (u32)&bind, 0) != 0) return -1;
  timer_port = bind.port;
  hypercall(VCPU_OP, VCPUOP_STOP_PERIODIC_TIMER, 0, 0);
  return hypercall(EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, (u32)&bind.port, 0);
}

/* Not 0: there is no Xen here, or it refuses; the kernel goes on without a ROM. */
u32 vmi_init(void) {
  leaf_base = find_xen();
  if (leaf_base == 0) return 1;
  place_hypercall_page();
  if (place_shared_info() != 0 || bind_timer() != 0) return 1;
  wall_version_seen = shared_info.wall_version;
  return 0;
}

/* ---- time ---- */

static u64 read_tsc(void) {
  u64 value;
  __asm__ volatile("rdtsc" : "=A"(value));
  return value;
}

static u64 scale(u64 ticks, u32 multiplier, int shift) {
  ticks = shift < 0 ? ticks >> -shift : ticks << shift;
  return (ticks >> 32) * multiplier + ((ticks & 0xffffffff) * multiplier >> 32);
}

/* Xen's system time at a value of the TSC, and no less; one of the past is that of Xen's last look. */
static u64 system_time_at(u64 tsc) {
  const struct time_info *time = &shared_info.vcpu[0].time;
  u64 ns;
  u32 version;
  do {
    version = time->version;
    __asm__ volatile("" : : : "memory");
    ns = time->system_time_ns + (tsc > time->tsc ? scale(tsc - time->tsc, time->multiplier, time->shift) + 1 : 0);
    __asm__ volatile("" : : : "memory");
  } while ((version & 1) != 0 || version != time->version);
  return ns;
}

u64 vmi_GetCycleFrequency(void) {
  u32 eax, ebx, khz;
  cpuid(leaf_base + LEAF_TIME, &eax, &ebx, &khz);
  return (u64)khz * 1000;
}

enum { REAL, AVAILABLE, ALARMS };

/* No cycle is stolen: Xen has no other domain to give it to. */
u64 vmi_GetCycleCounter(u32 counter) { return counter < ALARMS ? read_tsc() : 0; }

u64 vmi_GetWallclockTime(void) {
  u64 now = system_time_at(read_tsc()), seconds;
  u32 version, nanoseconds;
  do {
    version = shared_info.wall_version;
    __asm__ volatile("" : : : "memory");
    seconds = (u64)shared_info.wall_seconds_high << 32 | shared_info.wall_seconds;
    nanoseconds = shared_info.wall_nanoseconds;
    __asm__ volatile("" : : : "memory");
  } while ((version & 1) != 0 || version != shared_info.wall_version);
  return seconds * 1000000000 + nanoseconds + now;
}

u32 vmi_WallclockUpdated(void) {
  u32 version = shared_info.wall_version;
  u32 updated = version != wall_version_seen;
  wall_version_seen = version;
  return updated;
}

/* ---- alarms: two of VMI's on one timer of Xen's ---- */

enum { COUNTER = 0xff, PERIODIC = 0x100, WIRED_LVTT = 0x10000, KNOWN = COUNTER | PERIODIC | WIRED_LVTT };
#define NEVER (1ull << 62)

static struct alarm {
  u64 expiry, period; /* an expiry of NEVER: not set; a period of 0: once */
} alarms[ALARMS] = {{NEVER, 0}, {NEVER, 0}};

static void arm(void) {
  struct {
    u64 deadline_ns;
    u32 flags;
  } timer = {0, 0};
  u64 next = NEVER;
  for (u32 i = 0; i < ALARMS; i++)
    if (alarms[i].expiry < next) next = alarms[i].expiry;
  if (next == NEVER) {
    hypercall(VCPU_OP, VCPUOP_STOP_SINGLESHOT_TIMER, 0, 0);
    return;
  }
  /*
   * What is due is due a moment later: an event within the call could come before Xen has seen that the last one was taken,
   * and would make no edge.
   */
  timer.flags = SSHOTTMR_FUTURE;
  timer.deadline_ns = system_time_at(next);
  /* The call itself takes time, on a busy host more than a short delay. */
  for (u32 delay_ns = LEAST_DELAY_NS; hypercall(VCPU_OP, VCPUOP_SET_SINGLESHOT_TIMER, 0, &timer) == -ETIME; delay_ns *= 2)
    timer.deadline_ns = system_time_at(read_tsc()) + delay_ns;
}

static void run_alarms(void) {
  u64 now = read_tsc();
  for (u32 i = 0; i < ALARMS; i++) {
    struct alarm *alarm = &alarms[i];
    if (alarm->expiry > now) continue;
    alarm->expiry = alarm->period == 0 ? NEVER : alarm->expiry + alarm->period;
    /* Periods that have gone by are not made up for. */
    if (alarm->expiry <= now) alarm->expiry = now + alarm->period;
  }
  arm();
}

/* Interrupts are off. What is pending has made its edge at IRQ 0; taken, it can make the next. */
void take_events(void) {
  struct vcpu_info *vcpu = &shared_info.vcpu[0];
  u32 bit = 1u << timer_port % 32;
  vcpu->upcall_pending = 0;
  __sync_fetch_and_and(&vcpu->pending_words, 0);
  if (__sync_fetch_and_and(&shared_info.event_pending[timer_port / 32], ~bit) & bit) run_alarms();
}

static u32 disable_interrupts(void) {
  u32 flags;
  __asm__ volatile("pushfl; popl %0; cli" : "=r"(flags) : : "memory");
  return flags;
}

static void restore_interrupts(u32 flags) { __asm__ volatile("pushl %0; popfl" : : "r"(flags) : "memory", "cc"); }

static void change_alarm(u32 flags, u64 expiry, u64 period) {
  u32 interrupts = disable_interrupts();
  if (shared_info.vcpu[0].upcall_pending) take_events();
  alarms[flags & COUNTER].expiry = expiry < NEVER ? expiry : NEVER;
  alarms[flags & COUNTER].period = period < NEVER ? period : NEVER - 1;
  arm();
  restore_interrupts(interrupts);
}

/* NOT IMPLEMENTED: an alarm wired to the local APIC's timer entry, whose vector Xen does not know; it comes at IRQ 0. */
void vmi_SetAlarm(u32 flags, u32 expiry_low, u32 expiry_high, u32 period_low, u32 period_high) {
  u64 period = (u64)period_high << 32 | period_low;
  if ((flags & ~KNOWN) != 0 || (flags & COUNTER) >= ALARMS) return;
  if ((flags & PERIODIC) != 0 && period == 0) return;
  change_alarm(flags, (u64)expiry_high << 32 | expiry_low, (flags & PERIODIC) != 0 ? period : 0);
}

void vmi_CancelAlarm(u32 flags) {
  if ((flags & COUNTER) < ALARMS) change_alarm(flags, NEVER, 0);
}

/* ---- the rest ---- */

static void shut_down(u32 reason) { hypercall(SCHED_OP, SCHEDOP_SHUTDOWN, (u32)&reason, 0); }

/* How: 0 softly, 1 hard, which are the same here. */
void vmi_Reboot(u32 how) {
  if (how <= 1) shut_down(SHUTDOWN_REBOOT);
}

void vmi_Shutdown(void) { shut_down(SHUTDOWN_POWEROFF); }

void vmi_FlushTLB(void) { hypercall(HVM_OP, HVMOP_FLUSH_TLBS, 0, 0); }
