/* The descriptor bus and its devices, as Linux 2.6.32 has them (linux/lguest_launcher.h, linux/virtio_ring.h). */
#include "guest.h"

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
enum { NEXT = 1, WRITE = 2 };
enum { NET = 1, BLOCK = 2, CONSOLE = 3, ENTROPY = 4 };

static u32 memory_end(void)
{
  return *(u32 *)((u8 *)VA(0) + 0x2d8);
}
/* Memory above the guest's own is not in its tables: a second table of the guest's leads there. */
static u8 *device_memory(u32 address)
{
  return (u8 *)0x80000000 + (address - memory_end());
}
static void map_device_memory(void)
{
  for (u32 i = 0; i < 256; i++) map(0x80000000 + (i << 12), (memory_end() + (i << 12)) | 0x63);
}

static struct queue *queue_of(struct descriptor *device, u32 index)
{
  return (struct queue *)(device + 1) + index;
}
static u8 *features_of(struct descriptor *device)
{
  return (u8 *)queue_of(device, device->queues);
}
static u8 *config_of(struct descriptor *device)
{
  return features_of(device) + 2 * device->feature_bytes;
}
static u32 address_of(struct descriptor *device)
{
  return memory_end() + (u32)((u8 *)device - (u8 *)0x80000000);
}
static void set_status(struct descriptor *device, u8 status)
{
  device->status = status;
  hcall(NOTIFY, address_of(device), 0, 0, 0);
}

static u8 *rings(struct queue *queue)
{
  return device_memory(queue->page << 12);
}
static u16 used_index(struct queue *queue)
{
  u32 available = queue->entries * 18 + 6;
  return *(volatile u16 *)(rings(queue) + ((available + 4095) & ~4095u) + 2);
}
/* Offer a chain that begins with descriptor 0, and tell the device. */
static void offer(struct queue *queue, u16 head)
{
  volatile u16 *available = (volatile u16 *)(rings(queue) + queue->entries * 16);
  available[2 + available[1] % queue->entries] = head;
  available[1]++;
  hcall(NOTIFY, queue->page << 12, 0, 0, 0);
}
static void put(struct queue *queue, u16 index, void *at, u32 bytes, u16 flags)
{
  struct buffer *table = (struct buffer *)rings(queue);
  table[index] = (struct buffer){PA(at), bytes, flags, index + 1};
}

static u32 interrupts(struct queue *queue)
{
  return traps[32 + queue->irq];
}
static void let_interrupts_in(void)
{
  *blocked = 0;
  *irq_enabled = IF;
  hcall(era->irq_pending ? SEND_INTERRUPTS : FLUSH_ASYNC, 0, 0, 0, 0);
  *irq_enabled = 0;
}

static void break_queue(struct queue *queue, const char *how)
{
  static u8 byte;
  if (same(how, "index")) {
    ((volatile u16 *)(rings(queue) + queue->entries * 16))[1] += 1000;
    offer(queue, 0);
  } else if (same(how, "head")) offer(queue, 60000);
  else if (same(how, "loop")) {
    put(queue, 0, &byte, 1, NEXT);
    ((struct buffer *)rings(queue))[0].next = 0;
    offer(queue, 0);
  } else if (same(how, "address")) {
    put(queue, 0, (void *)0xbffff000, 4096, 0);
    offer(queue, 0);
  }
}

static void try_console(struct descriptor *device)
{
  static const char text[] = "through the console's queue\n";
  struct queue *transmit = queue_of(device, 1);
  set_status(device, 4);
  break_queue(transmit, word("queue"));
  u32 before = interrupts(transmit);
  put(transmit, 0, (void *)text, sizeof text - 1, 0);
  offer(transmit, 0);
  let_interrupts_in();
  check("console: the text is taken, with an interrupt", used_index(transmit) == 1 && interrupts(transmit) == before + 1);
  set_status(device, 0);
  check("console: a reset clears the rings", used_index(transmit) == 0);
  put(transmit, 0, (void *)text, sizeof text - 1, 0);
  offer(transmit, 0);
  check("console: a queue can be used before the driver is ready", used_index(transmit) == 1);
}

/* With the header of 24 bytes that 2.6.24 has; newer kernels end it with the sector. */
static u8 block_request(struct queue *queue, u32 type, u32 sector, u8 *data, u16 index)
{
  static struct { u32 type, priority; u64 sector, id; } header;
  static volatile u8 status;
  header.type = type;
  header.sector = sector;
  status = 0xee;
  put(queue, 0, &header, era->typed_fields ? 24 : 16, NEXT);
  put(queue, 1, data, 512, NEXT | (type == 0 ? WRITE : 0));
  put(queue, 2, (void *)&status, 1, WRITE);
  offer(queue, 0);
  return used_index(queue) == index ? status : 0xff;
}
static void try_requests(struct queue *queue, u8 *sector)
{
  check("block: a sector is read", block_request(queue, 0, 0, sector, 1) == 0 && sector[0] == 'd' && sector[511] == 'd');
  fill(sector, 'w', 512);
  check("block: a sector is written", block_request(queue, 1, 1, sector, 2) == 0);
  check("block: beyond the end is an I/O error", block_request(queue, 0, 99, sector, 3) == 1);
  let_interrupts_in();
}
static void try_block(struct descriptor *device)
{
  struct queue *queue = queue_of(device, 0);
  u8 *sector = page();
  check("block: its size in sectors", *(u32 *)config_of(device) == 4);
  fill(features_of(device) + device->feature_bytes, 0, device->feature_bytes);
  set_status(device, 4);
  try_requests(queue, sector);
}
static void try_entropy_queue(struct queue *queue)
{
  u8 *bytes = page();
  put(queue, 0, bytes, 64, WRITE);
  offer(queue, 0);
  u32 different = 0;
  for (u32 i = 0; i < 64; i++) different += bytes[i] != 0;
  check("entropy: bytes come", used_index(queue) == 1 && different > 32);
}
static void try_entropy(struct descriptor *device)
{
  set_status(device, 4);
  try_entropy_queue(queue_of(device, 0));
}
static void try_frame(struct queue *transmit, const u8 *mac)
{
  u8 *frame = page();
  fill(frame, 0, 10);
  fill(frame + 10, 0xff, 60);
  put(transmit, 0, frame, 70, 0);
  offer(transmit, 0);
  check("net: a frame is sent", used_index(transmit) == 1 && mac && !(mac[0] & 1));
}
static void try_net(struct descriptor *device)
{
  set_status(device, 4);
  try_frame(queue_of(device, 1), config_of(device));
}

void try_devices(void)
{
  map_device_memory();
  u8 *at = (u8 *)0x80000000;
  for (struct descriptor *device = (void *)at; device->type; device = (void *)at) {
    at += sizeof *device + device->queues * sizeof(struct queue) + 2 * device->feature_bytes + device->config_bytes;
    if (device->type == CONSOLE) try_console(device);
    else if (device->type == BLOCK) try_block(device);
    else if (device->type == ENTROPY) try_entropy(device);
    else if (device->type == NET) try_net(device);
  }
}

/* An entry of 2.6.24, and one of its fields. */
struct entry {
  u8 type, bytes, status;
} __attribute__((packed));
struct field {
  u8 type, bytes;
} __attribute__((packed));

/* What the next field of this type holds; it is marked as used, as the kernel does. */
static void *take(struct entry *entry, u8 type, u8 bytes)
{
  struct field *field = (void *)(entry + 1);
  u8 *end = (u8 *)field + entry->bytes;
  for (; (u8 *)field < end; field = (void *)((u8 *)(field + 1) + field->bytes)) {
    if (field->type != type || field->bytes != bytes) continue;
    field->type |= 0x80;
    return field + 1;
  }
  return 0;
}

static void try_typed(struct entry *entry)
{
  struct queue *first = take(entry, 2, sizeof *first), *second = take(entry, 2, sizeof *second);
  /* The host is not told of the status. */
  entry->status = 7;
  if (entry->type == CONSOLE) {
    static const char text[] = "through the console's queue\n";
    put(second, 0, (void *)text, sizeof text - 1, 0);
    offer(second, 0);
    check("console: the text is taken", used_index(second) == 1);
  } else if (entry->type == BLOCK) {
    u32 *sectors = take(entry, 0x41, 8), *segments = take(entry, 0x43, 4);
    check("block: its size in sectors, segments of a request", sectors && sectors[0] == 4 && segments && *segments > 0);
    try_requests(first, page());
  } else if (entry->type == ENTROPY) try_entropy_queue(first);
  else if (entry->type == NET) try_frame(second, take(entry, 0x41, 6));
}

void try_typed_devices(void)
{
  map_device_memory();
  u32 found = 0;
  for (struct entry *entry = (void *)0x80000000; entry->type; entry = (void *)((u8 *)(entry + 1) + entry->bytes)) {
    try_typed(entry);
    found++;
  }
  check("four devices", found == 4);
}
