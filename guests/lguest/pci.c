/* The PCI bus of Linux 4.0 to 4.13 and its devices of Virtio 1.0 (Virtio 1.2, 4.1; linux/virtio_pci.h). */
#include "guest.h"

enum { NET = 1, BLOCK = 2, CONSOLE = 3, ENTROPY = 4 };
enum { COMMON = 1, NOTIFICATIONS = 2, ISR = 3, DEVICE = 4, WINDOW = 5 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8 };
enum { NEXT = 1, WRITE = 2 };
enum { ENTRIES = 8 };
/* Registers of struct virtio_pci_common_cfg. */
enum { FEATURE_SELECT = 0, FEATURE = 4, DRIVER_SELECT = 8, DRIVER_FEATURE = 12, QUEUES = 18, STATUS = 20, QUEUE_SELECT = 22,
  QUEUE_SIZE = 24, QUEUE_ENABLE = 28, QUEUE_NOTIFY = 30, QUEUE_DESCRIPTORS = 32, QUEUE_AVAILABLE = 40, QUEUE_USED = 48 };

struct buffer {
  u64 address;
  u32 bytes;
  u16 flags, next;
};
struct queue {
  struct buffer *buffers;
  volatile u16 *available, *used, *notify;
  u16 number;
};
/* A function with its registers mapped; capabilities by cfg_type. */
struct device {
  u32 slot, type, irq, caps[6], offset[6], multiplier;
  u8 *registers;
  struct queue queues[2];
};

static void out32(u16 port, u32 value)
{
  asm volatile("outl %0, %1" : : "a"(value), "d"(port));
}
static void out8(u16 port, u8 value)
{
  asm volatile("outb %0, %1" : : "a"(value), "d"(port));
}
static u32 in32(u16 port)
{
  u32 value;
  asm volatile("inl %1, %0" : "=a"(value) : "d"(port));
  return value;
}
static u32 config(u32 slot, u32 at)
{
  out32(0xcf8, 0x80000000 | slot << 11 | (at & 0xfc));
  return in32(0xcfc) >> (at & 3) * 8;
}
static void set_config(u32 slot, u32 at, u32 value)
{
  out32(0xcf8, 0x80000000 | slot << 11 | at);
  out32(0xcfc, value);
}
static void set_config8(u32 slot, u32 at, u8 value)
{
  out32(0xcf8, 0x80000000 | slot << 11 | (at & 0xfc));
  out8(0xcfc + (at & 3), value);
}

/* Where the structures of a function are; 0 as slot: there is none. */
static struct device find(u32 slot)
{
  struct device found = {.slot = 0};
  u32 id = config(slot, 0);
  if ((id & 0xffff) != 0x1af4 || id >> 16 < 0x1040) return found;
  found.slot = slot;
  found.type = (id >> 16) - 0x1040;
  found.irq = config(slot, 0x3c) & 0xff;
  for (u32 at = config(slot, 0x34) & 0xff; at; at = config(slot, at + 1) & 0xff) {
    u32 type = config(slot, at + 3) & 0xff;
    if ((config(slot, at) & 0xff) != 9 || type > WINDOW) continue;
    found.caps[type] = at;
    found.offset[type] = config(slot, at + 8);
    if (type == NOTIFICATIONS) found.multiplier = config(slot, at + 16);
  }
  return found;
}

static void set_window(struct device *device, u32 offset, u32 bytes)
{
  u32 at = device->caps[WINDOW];
  set_config8(device->slot, at + 4, 0);
  set_config(device->slot, at + 12, bytes);
  set_config(device->slot, at + 8, offset);
}
void print_on_pci(const char *text)
{
  static struct device console;
  if (!console.slot) console = find(1);
  for (; *text; text++) {
    set_window(&console, console.offset[DEVICE] + 8, 4);
    set_config(1, console.caps[WINDOW] + 16, (u8)*text);
  }
}

#define REGISTER(device, type, at, size) (*(volatile size *)((device)->registers + (device)->offset[type] + (at)))
static void map_registers(struct device *device)
{
  static u32 next = 0x90000000;
  u32 bar = config(device->slot, 0x10) & ~15u;
  device->registers = (u8 *)next;
  for (u32 i = 0; i < 4; i++, next += 4096) map(next, (bar + i * 4096) | 0x7b);
}
static int begin(struct device *device)
{
  map_registers(device);
  REGISTER(device, COMMON, STATUS, u8) = 0;
  REGISTER(device, COMMON, STATUS, u8) = ACKNOWLEDGE | DRIVER;
  REGISTER(device, COMMON, FEATURE_SELECT, u32) = 1;
  int modern = REGISTER(device, COMMON, FEATURE, u32) & 1;
  REGISTER(device, COMMON, DRIVER_SELECT, u32) = 1;
  REGISTER(device, COMMON, DRIVER_FEATURE, u32) = 1;
  REGISTER(device, COMMON, STATUS, u8) = ACKNOWLEDGE | DRIVER | FEATURES_OK;
  return modern && REGISTER(device, COMMON, STATUS, u8) == (ACKNOWLEDGE | DRIVER | FEATURES_OK);
}
static void add_queue(struct device *device, u16 number)
{
  struct queue *queue = &device->queues[number];
  u8 *memory = page();
  fill(memory, 0, 4096);
  queue->number = number;
  queue->buffers = (struct buffer *)memory;
  queue->available = (u16 *)(memory + 1024);
  queue->used = (u16 *)(memory + 2048);
  REGISTER(device, COMMON, QUEUE_SELECT, u16) = number;
  REGISTER(device, COMMON, QUEUE_SIZE, u16) = ENTRIES;
  REGISTER(device, COMMON, QUEUE_DESCRIPTORS, u32) = PA(queue->buffers);
  REGISTER(device, COMMON, QUEUE_AVAILABLE, u32) = PA(queue->available);
  REGISTER(device, COMMON, QUEUE_USED, u32) = PA(queue->used);
  REGISTER(device, COMMON, QUEUE_ENABLE, u16) = 1;
  u16 offset = REGISTER(device, COMMON, QUEUE_NOTIFY, u16);
  queue->notify = &REGISTER(device, NOTIFICATIONS, offset * device->multiplier, u16);
}
static void begin_queues(struct device *device)
{
  for (u16 i = 0; i < 2 && i < REGISTER(device, COMMON, QUEUES, u16); i++) add_queue(device, i);
  REGISTER(device, COMMON, STATUS, u8) |= DRIVER_OK;
}
static void put(struct queue *queue, u16 index, void *at, u32 bytes, u16 flags)
{
  queue->buffers[index] = (struct buffer){PA(at), bytes, flags, index + 1};
}
static void offer(struct queue *queue)
{
  queue->available[2 + queue->available[1] % ENTRIES] = 0;
  queue->available[1]++;
  *queue->notify = queue->number;
}
static u32 take_interrupts(struct device *device)
{
  u32 before = traps[32 + device->irq];
  *blocked = 0;
  *irq_enabled = IF;
  hcall(SEND_INTERRUPTS, 0, 0, 0, 0);
  *irq_enabled = 0;
  return traps[32 + device->irq] - before;
}

static void try_console(struct device *device)
{
  static const char text[] = "through the console's queue\n";
  struct queue *transmit = &device->queues[1];
  take_interrupts(device);
  (void)REGISTER(device, ISR, 0, u8);
  put(transmit, 0, (void *)text, sizeof text - 1, 0);
  offer(transmit);
  check("console: the text is taken", transmit->used[1] == 1);
  check("console: an interrupt, whose reason ISR tells once",
        take_interrupts(device) == 1 && (REGISTER(device, ISR, 0, u8) & 1) && REGISTER(device, ISR, 0, u8) == 0);
  offer(transmit);
  check("console: and again", take_interrupts(device) == 1 && (REGISTER(device, ISR, 0, u8) & 1));
  REGISTER(device, DEVICE, 8, u32) = '!';
  REGISTER(device, DEVICE, 8, u32) = '\n';
  set_window(device, device->offset[COMMON] + QUEUES, 2);
  check("console: registers through configuration space", (config(1, device->caps[WINDOW] + 16) & 0xffff) == 2);
  set_window(device, device->offset[COMMON] + QUEUES, 3);
  set_config(1, device->caps[WINDOW] + 16, 0x55aa);
  check("console: but not three bytes of them", (config(1, device->caps[WINDOW] + 16) & 0xffff) == 0x55aa);
  REGISTER(device, COMMON, STATUS, u8) = 0;
  check("console: a reset", REGISTER(device, COMMON, QUEUE_ENABLE, u16) == 0);
}
static u8 block_request(struct queue *queue, u32 type, u32 sector, u8 *data)
{
  static struct { u32 type, priority; u64 sector; } header;
  static volatile u8 status;
  header.type = type;
  header.sector = sector;
  status = 0xee;
  put(queue, 0, &header, 16, NEXT);
  put(queue, 1, data, 512, NEXT | (type == 0 ? WRITE : 0));
  put(queue, 2, (void *)&status, 1, WRITE);
  offer(queue);
  return status;
}
static void try_block(struct device *device)
{
  u8 *data = page();
  struct queue *queue = &device->queues[0];
  check("block: its size", REGISTER(device, DEVICE, 0, u32) == 4);
  u8 read = block_request(queue, 0, 0, data);
  check("block: a sector is read", read == 0 && data[0] == 'd' && data[511] == 'd');
  fill(data, 'w', 512);
  check("block: a sector is written", block_request(queue, 1, 1, data) == 0);
  check("block: beyond the end is an error", block_request(queue, 0, 4, data) == 1);
}
static void try_entropy(struct device *device)
{
  u8 *bytes = page();
  put(&device->queues[0], 0, bytes, 64, WRITE);
  offer(&device->queues[0]);
  u32 different = 0;
  for (u32 i = 0; i < 64; i++) different += bytes[i] != 0;
  check("entropy: bytes come", device->queues[0].used[1] == 1 && different > 32);
}
static void try_net(struct device *device)
{
  u8 *frame = page();
  fill(frame, 0, 12);
  fill(frame + 12, 0xff, 60);
  put(&device->queues[1], 0, frame, 72, 0);
  offer(&device->queues[1]);
  check("net: a frame is sent", device->queues[1].used[1] == 1);
}

static void break_queue(struct device *device, const char *how)
{
  struct queue *transmit = &device->queues[1];
  if (same(how, "index")) transmit->available[1] += 1000;
  else return;
  offer(transmit);
  check("console: a broken queue stops it", REGISTER(device, COMMON, STATUS, u8) & 0x40);
  REGISTER(device, COMMON, STATUS, u8) = 0;
}

void try_pci(void)
{
  check("a host bridge", config(0, 8) >> 16 == 0x0600);
  check("nothing behind the last slot", config(31, 0) == 0xffffffff);
  check("the console is in slot 1", (config(1, 0) >> 16) == 0x1040 + CONSOLE);
  u32 value;
  asm volatile("xorl %%eax, %%eax; inb $0x64, %%al" : "=a"(value));
  check("the keyboard controller is never busy", value == 1);
  for (u32 slot = 1; slot < 32; slot++) {
    struct device device = find(slot);
    if (!device.slot) continue;
    check("a function of Virtio 1.0", begin(&device));
    begin_queues(&device);
    if (device.type == CONSOLE && *word("queue")) break_queue(&device, word("queue"));
    else if (device.type == CONSOLE) try_console(&device);
    else if (device.type == BLOCK) try_block(&device);
    else if (device.type == ENTROPY) try_entropy(&device);
    else if (device.type == NET) try_net(&device);
  }
}
