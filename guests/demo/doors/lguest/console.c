/*
 * A virtio console on lguest's bus: a page of descriptors just above the guest's memory (Linux 2.6.32,
 * linux/lguest_launcher.h), and for each of its queues a ring (Virtio 1.2, 2.7).
 */
#include "lguest.h"
#include "tables.h"

enum { TYPE_CONSOLE = 3, RECEIVE = 0, TRANSMIT = 1, QUEUES = 2 };
enum { STATUS_ACKNOWLEDGED = 1, STATUS_DRIVER = 2, STATUS_READY = 4 };
enum { BUFFER_WRITE = 2, NO_INTERRUPT = 1, MOST_ENTRIES = 256, RING_PAGES = 3, BUFFER_BYTES = 64 };

struct descriptor {
    u8 type, queues, feature_bytes, config_bytes, status;
} __attribute__((packed));

struct queue {
    u16 entries, irq;
    u32 page;
} __attribute__((packed));

struct buffer {
    u64 address;
    u32 bytes;
    u16 flags, next;
};

struct available {
    volatile u16 flags, index;
    u16 heads[];
};

struct used {
    volatile u16 flags, index;
    struct {
        u32 head;
        volatile u32 bytes;
    } elements[];
};

/* Device memory is not in our tables: these pages are mapped to it. */
static char descriptors[PAGE_BYTES] __attribute__((aligned(4096)));
static char rings[QUEUES][RING_PAGES * PAGE_BYTES] __attribute__((aligned(4096)));

static const struct queue *queues;
static char buffers[QUEUES][BUFFER_BYTES];
static word receive_taken, receive_bytes; /* of what is in the buffer */
static u16 receive_seen;

static struct buffer *table_of(word index)
{
    return (struct buffer *)rings[index];
}

static struct available *available_of(word index)
{
    return (struct available *)(rings[index] + queues[index].entries * sizeof(struct buffer));
}

/* On a page of its own, behind the available ring. */
static struct used *used_of(word index)
{
    word before = queues[index].entries * (sizeof(struct buffer) + sizeof(u16)) + 3 * sizeof(u16);

    return (struct used *)(rings[index] + (before + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
}

/* There is one buffer to a queue, described by entry 0. */
static void offer(word index, word bytes, u16 flags)
{
    struct available *available = available_of(index);

    table_of(index)[0] = (struct buffer){ physical(buffers[index]), bytes, flags, 0 };
    available->heads[available->index % queues[index].entries] = 0;
    compiler_barrier();
    available->index++;
    lguest_call(LHCALL_NOTIFY, queues[index].page * PAGE_BYTES, 0, 0, 0);
}

void lguest_console_write(const char *text, word bytes)
{
    while (bytes > 0 && queues) {
        word part = bytes < BUFFER_BYTES ? bytes : BUFFER_BYTES;
        u16 before = used_of(TRANSMIT)->index;

        for (word i = 0; i < part; i++)
            buffers[TRANSMIT][i] = text[i];
        offer(TRANSMIT, part, 0);
        while (used_of(TRANSMIT)->index == before)
            lguest_call(LHCALL_FLUSH_ASYNC, 0, 0, 0, 0);
        text += part;
        bytes -= part;
    }
}

/* Takes what the host has put into the buffer, if it has. */
static void receive(void)
{
    struct used *used = used_of(RECEIVE);

    if (receive_taken < receive_bytes || used->index == receive_seen)
        return;
    receive_bytes = used->elements[receive_seen % queues[RECEIVE].entries].bytes;
    if (receive_bytes > BUFFER_BYTES)
        receive_bytes = BUFFER_BYTES;
    receive_taken = 0;
    receive_seen++;
}

word lguest_console_read(char *text, word bytes)
{
    word read = 0;

    if (!queues)
        return 0;
    receive();
    while (read < bytes && receive_taken < receive_bytes)
        text[read++] = buffers[RECEIVE][receive_taken++];
    if (read > 0 && receive_taken == receive_bytes)
        offer(RECEIVE, BUFFER_BYTES, BUFFER_WRITE);
    return read;
}

static struct descriptor *find_console(void)
{
    char *at = descriptors;

    while (at + sizeof(struct descriptor) <= descriptors + PAGE_BYTES) {
        struct descriptor *device = (struct descriptor *)at;

        if (device->type == 0)
            break;
        if (device->type == TYPE_CONSOLE && device->queues >= QUEUES)
            return device;
        at += sizeof *device + device->queues * sizeof(struct queue) + 2 * device->feature_bytes + device->config_bytes;
    }
    return NULL;
}

static void set_status(struct descriptor *device, word bus_frame, u8 status)
{
    device->status = status;
    lguest_call(LHCALL_NOTIFY, bus_frame * PAGE_BYTES + (word)((char *)device - descriptors), 0, 0, 0);
}

void lguest_console_init(word pages)
{
    struct descriptor *device;

    lguest_set_pte(descriptors, pages);
    device = find_console();
    if (!device)
        return;
    queues = (const struct queue *)(device + 1);
    for (word i = 0; i < QUEUES; i++) {
        if (queues[i].entries > MOST_ENTRIES)
            __builtin_trap();
        for (word page = 0; page < RING_PAGES; page++)
            lguest_set_pte(rings[i] + page * PAGE_BYTES, queues[i].page + page);
    }
    available_of(TRANSMIT)->flags = NO_INTERRUPT;
    set_status(device, pages, STATUS_ACKNOWLEDGED | STATUS_DRIVER | STATUS_READY);
    lguest_unblock(queues[RECEIVE].irq);
    offer(RECEIVE, BUFFER_BYTES, BUFFER_WRITE);
}
