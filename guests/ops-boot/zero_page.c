/* The zero page (Linux, Documentation/arch/x86/zero-page.rst; its setup header: boot.rst). */
#include "boot.h"
#include "hand_off.h"

enum field {
  ACPI_RSDP_ADDR = 0x70, E820_ENTRIES = 0x1e8, SETUP_HEADER = 0x1f1, VID_MODE = 0x1fa, JUMP_DISTANCE = 0x201,
  JUMP_END = 0x202, TYPE_OF_LOADER = 0x210, CODE32_START = 0x214, RAMDISK_IMAGE = 0x218, RAMDISK_SIZE = 0x21c,
  CMD_LINE_PTR = 0x228, SETUP_HEADER_MOST = 0x290, E820_TABLE = 0x2d0
};
#define E820_ENTRY_BYTES        20
#define RESERVED                2
#define MODE_NORMAL             0xffff
#define LOADER_UNDEFINED        0xff

static void put32(uint8_t *at, uint32_t value) { *(uint32_t *)at = value; }
static void put64(uint8_t *at, uint64_t value) { *(uint64_t *)at = value; }

static void add_e820(uint8_t *page, uint64_t first, uint64_t size_bytes, uint32_t type) {
  uint8_t *entry = page + E820_TABLE + page[E820_ENTRIES]++ * E820_ENTRY_BYTES;
  put64(entry, first);
  put64(entry + 8, size_bytes);
  put32(entry + 16, type);
}

/* What a loader copies ends where the jump at its start leads. */
static void copy_setup_header(uint8_t *page, uint32_t file) {
  uint32_t end = JUMP_END + get8(file + JUMP_DISTANCE);
  if (end > SETUP_HEADER_MOST) end = SETUP_HEADER_MOST;
  copy(page + SETUP_HEADER, (const void *)(file + SETUP_HEADER), end - SETUP_HEADER);
}

/* In a page that the kernel leaves alone: of entries that overlap, the larger type counts. */
static void fill_rsdp(struct hand_off *hand_off, const struct information *information) {
  if (!information->rsdp_bytes) return;
  copy(hand_off->rsdp, information->rsdp, information->rsdp_bytes);
  uint32_t at = (uint32_t)hand_off->rsdp;
  put64(hand_off->zero_page + ACPI_RSDP_ADDR, at);
  add_e820(hand_off->zero_page, at & ~(PAGE_BYTES - 1), PAGE_BYTES, RESERVED);
}

void fill_zero_page(struct hand_off *hand_off, const struct information *information, const struct kernel *kernel,
                    struct range initrd) {
  uint8_t *page = hand_off->zero_page;
  fill_screen_info(page, &information->screen);
  copy_setup_header(page, kernel->file.first);
  *(uint16_t *)(page + VID_MODE) = MODE_NORMAL;
  page[TYPE_OF_LOADER] = LOADER_UNDEFINED;
  put32(page + CODE32_START, kernel->load_at);
  put32(page + RAMDISK_IMAGE, initrd.first);
  put32(page + RAMDISK_SIZE, initrd.end - initrd.first);
  put32(page + CMD_LINE_PTR, (uint32_t)hand_off->command_line);
  for (uint32_t i = 0; i < information->region_count; i++) {
    const struct region *region = &information->regions[i];
    add_e820(page, region->first, region->size_bytes, region->type);
  }
  fill_rsdp(hand_off, information);
}
