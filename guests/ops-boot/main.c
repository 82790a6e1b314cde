/*
 * A Multiboot kernel that starts Linux: it hands the ops modules among its boot modules over to the machine, if that takes
 * them, and enters the kernel among them by the 32-bit boot protocol.
 */
#include "boot.h"
#include "hand_off.h"

/* Conventional memory, without what the BIOS keeps in front. */
static const struct range LOW = {0x10000, 0xa0000};
#define INITRD_ALIGN            4u      /* of each archive, if there are several (Linux, initramfs buffer format) */

extern uint8_t image[], image_end[];
static struct range own(void) { return (struct range){(uint32_t)image, (uint32_t)image_end}; }

static struct information information;
static char command_line[COMMAND_LINE_BYTES];
static struct range taken[MOST_MODULES + 3];

static uint32_t length_of(const char *text) {
  uint32_t length = 0;
  while (text[length]) length++;
  return length;
}

/* Without a file's name in front, which some loaders leave there: a kernel's options do not begin so. */
static const char *options_in(const char *text) {
  if (*text != '/' && *text != '(') return text;
  while (*text && *text != ' ') text++;
  while (*text == ' ') text++;
  return text;
}

/* Before anything is moved over the loader's information. */
static void keep_command_line(const struct kernel *kernel) {
  const char *options = options_in(kernel->text);
  uint32_t length = length_of(options);
  uint32_t most = kernel->command_line_most < sizeof command_line ? kernel->command_line_most : sizeof command_line - 1;
  if (length > most) fail("the command line has %u bytes, the kernel takes %u; shorten it", length, most);
  copy(command_line, options, length);
}

/* All that may not be overwritten now. Answers how many ranges that is. */
static uint32_t list_taken(void) {
  uint32_t count = 0;
  taken[count++] = own();
  for (uint32_t i = 0; i < information.module_count; i++) taken[count++] = information.modules[i].at;
  return count;
}

static struct hand_off *place_hand_off(void) {
  uint32_t at = lowest_free(&information, LOW, sizeof(struct hand_off), PAGE_BYTES, taken, list_taken());
  if (!at) fail("no %u bytes of memory below 640 KiB; use another boot loader", (uint32_t)sizeof(struct hand_off));
  clear((void *)at, sizeof(struct hand_off));
  return (struct hand_off *)at;
}

static uint32_t initrd_bytes(const struct module **only) {
  uint32_t total = 0, count = 0;
  for (uint32_t i = 0; i < information.module_count; i++) {
    const struct module *module = &information.modules[i];
    if (module->role != INITRD || module->at.first == module->at.end) continue;
    uint32_t size_bytes = (module->at.end - module->at.first + INITRD_ALIGN - 1) & ~(INITRD_ALIGN - 1);
    if (total + size_bytes < total) fail("the initrds are larger than memory; give fewer");
    total += size_bytes;
    *only = count++ ? 0 : module;
  }
  return total;
}

/* One that lies right stays; else all of them go, one behind the other, to where nothing is or is going to be. */
static struct range place_initrd(const struct kernel *kernel, struct range hand_off) {
  const struct module *only = 0;
  uint32_t size_bytes = initrd_bytes(&only);
  if (size_bytes == 0) return (struct range){0, 0};
  if (only && !overlaps(only->at, kernel->room) && only->at.first % PAGE_BYTES == 0 && only->at.end - 1 <= kernel->initrd_most)
    return only->at;
  uint32_t count = list_taken();
  taken[count++] = kernel->room;
  taken[count++] = hand_off;
  uint32_t end = kernel->initrd_most < 0xffffefff ? kernel->initrd_most + 1 : 0xfffff000;
  uint32_t at = highest_free(&information, (struct range){0x100000, end}, size_bytes, taken, count);
  if (!at) fail("no room for %u KiB of initrd; give the machine more memory", size_bytes >> 10);
  clear((void *)at, size_bytes);
  struct range placed = {at, at};
  for (uint32_t i = 0; i < information.module_count; i++) {
    const struct module *module = &information.modules[i];
    if (module->role != INITRD) continue;
    uint32_t bytes = module->at.end - module->at.first;
    placed.end = (placed.end + INITRD_ALIGN - 1) & ~(INITRD_ALIGN - 1);
    copy((void *)placed.end, (const void *)module->at.first, bytes);
    placed.end += bytes;
  }
  return placed;
}

static void prepare_entry(struct hand_off *hand_off, const struct kernel *kernel) {
  copy(hand_off->command_line, command_line, sizeof command_line);
  copy(hand_off->code, enter_code, CODE_BYTES);
  /* Flat: code to execute and read, data to read and write (boot.rst; SDM vol. 3A, 3.4.5). */
  hand_off->gdt[BOOT_CS / 8] = 0x00cf9b000000ffff;
  hand_off->gdt[BOOT_DS / 8] = 0x00cf93000000ffff;
  hand_off->gdtr.limit = sizeof hand_off->gdt - 1;
  hand_off->gdtr.base = (uint32_t)hand_off->gdt;
  hand_off->from = kernel->code.first;
  hand_off->to = hand_off->entry = kernel->load_at;
  hand_off->bytes = kernel->code.end - kernel->code.first;
}

void boot(uint32_t magic, uint32_t at) {
  struct kernel kernel;
  read_information(magic, at, &information);
  find_roles(&information);
  read_kernel(kernel_among(&information), &kernel);
  keep_command_line(&kernel);
  hand_over(&information, &kernel);
  struct hand_off *hand_off = place_hand_off();
  struct range low = {(uint32_t)hand_off, (uint32_t)(hand_off + 1)};
  place_kernel(&information, &kernel, low);
  struct range initrd = place_initrd(&kernel, low);
  fill_zero_page(hand_off, &information, &kernel, initrd);
  prepare_entry(hand_off, &kernel);
  enter(hand_off);
}
