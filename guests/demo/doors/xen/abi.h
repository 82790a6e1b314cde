/*
 * The part of Xen's interface that these doors use. Numbers and layouts: Xen public headers xen.h, arch-x86/xen.h,
 * event_channel.h, sched.h, vcpu.h, callback.h, version.h, io/console.h. What depends on the width of a word is in
 * abi64.h and abi32.h.
 */
#pragma once

/* ---- numbers, also for entry.S ---- */

#define HYPERCALL_SET_TRAP_TABLE 0
#define HYPERCALL_MEMORY_OP 12
#define HYPERCALL_UPDATE_VA_MAPPING 14
#define HYPERCALL_XEN_VERSION 17
#define HYPERCALL_CONSOLE_IO 18
#define HYPERCALL_IRET 23
#define HYPERCALL_VCPU_OP 24
#define HYPERCALL_MMUEXT_OP 26
#define HYPERCALL_SCHED_OP 29
#define HYPERCALL_CALLBACK_OP 30
#define HYPERCALL_EVENT_CHANNEL_OP 32
#define HYPERCALL_HVM_OP 34
#define HYPERCALL_STUB_BYTES 32

#ifdef __x86_64__
#include "abi64.h"
#else
#include "abi32.h"
#endif

#ifndef __ASSEMBLER__
#include "../../core/types.h"

enum { XENVER_VERSION = 0, XENVER_EXTRAVERSION = 1 };
enum { CONSOLEIO_WRITE = 0, CONSOLEIO_READ = 1 };
enum { SCHEDOP_YIELD = 0, SCHEDOP_BLOCK = 1, SCHEDOP_SHUTDOWN = 2 };
enum { XEN_SHUTDOWN_POWEROFF = 0, XEN_SHUTDOWN_REBOOT = 1, XEN_SHUTDOWN_CRASH = 3 };
enum { MMUEXT_NEW_BASEPTR = 5, MMUEXT_TLB_FLUSH_LOCAL = 6 };
enum { UVMF_INVLPG = 2 };
enum { VCPUOP_STOP_PERIODIC_TIMER = 7, VCPUOP_SET_SINGLESHOT_TIMER = 8 };
enum { EVTCHNOP_BIND_VIRQ = 1, EVTCHNOP_SEND = 4, EVTCHNOP_UNMASK = 9 };
enum { VIRQ_TIMER = 0, VIRQ_CONSOLE = 2 };
enum { CALLBACKOP_REGISTER = 0, CALLBACK_EVENT = 0, CALLBACK_FAILSAFE = 1, CALLBACK_MASKS_EVENTS = 1 };
enum { START_FLAG_DOM0 = 2 };
enum { DOMID_SELF = 0x7ff0 };

struct start_info {
    char magic[32]; /* "xen-VERSION-PLATFORM" */
    word page_count;
    word shared_info_address; /* machine address */
    u32 flags;
    word store_mfn;
    u32 store_port;
    word console_mfn; /* meaningful in a domU only */
    u32 console_port;
    void *page_table;
    word page_table_frames;
    const word *p2m; /* mfn of each frame */
    void *module;
    word module_bytes;
    char command_line[1024];
};

/* A clock: ns = system_time_ns + (((TSC - tsc) << shift) * multiplier >> 32); odd version = being written. */
struct time_info {
    volatile u32 version;
    u32 unused;
    u64 tsc;
    u64 system_time_ns;
    u32 multiplier;
    signed char shift;
    u8 flags[3];
};

struct vcpu_info {
    volatile u8 upcall_pending;
    volatile u8 upcall_mask;
    volatile word pending_words; /* which words of event_pending have a bit set */
    word cr2;
    word unused[VCPU_INFO_UNUSED_WORDS];
    struct time_info time;
};

enum { LEGACY_VCPUS = 32, EVENTS_PER_WORD = 8 * sizeof(word), EVENT_WORDS = EVENTS_PER_WORD };

struct shared_info {
    struct vcpu_info vcpu[LEGACY_VCPUS];
    volatile word event_pending[EVENT_WORDS];
    volatile word event_mask[EVENT_WORDS];
    volatile u32 wall_version;
    u32 wall_seconds, wall_nanoseconds;
    u32 of_the_domain[WALL_SECONDS_HIGH_WORDS];
    u32 wall_seconds_high;
};

struct console_ring {
    char in[1024];
    char out[2048];
    volatile u32 in_consumer, in_producer;
    volatile u32 out_consumer, out_producer;
};

struct trap_entry {
    u8 vector;
    u8 flags;
    u16 cs;
    void (*address)(void);
};

_Static_assert(sizeof(struct vcpu_info) == 64, "vcpu_info");
_Static_assert(offsetof(struct shared_info, wall_seconds_high) == WALL_SECONDS_HIGH_AT, "shared_info");
_Static_assert(offsetof(struct start_info, command_line) == COMMAND_LINE_AT, "start_info");
_Static_assert(sizeof(struct trap_entry) == TRAP_ENTRY_BYTES, "trap_entry");
#endif
