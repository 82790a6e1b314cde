/* Multiboot information (0.6.96, 3.3). */
#include "boot.h"

enum field {
  FLAGS = 0, MEM_LOWER = 4, MEM_UPPER = 8, MODS_COUNT = 20, MODS_ADDR = 24, MMAP_LENGTH = 44, MMAP_ADDR = 48,
  FRAMEBUFFER = 88
};
enum flag { HAS_MEMORY = 1 << 0, HAS_MODS = 1 << 3, HAS_MMAP = 1 << 6, HAS_FRAMEBUFFER = 1 << 12 };
#define INFORMATION_BYTES       116
#define MODULE_BYTES            16
#define REGION_BYTES            20      /* beside the size itself, which does not count */
#define TEXT_MODE               2
#define RGB                     1

static void read_modules(uint32_t at, uint32_t count, struct information *into) {
  if (count > MOST_MODULES) fail("%u modules, more than %u; give fewer", count, MOST_MODULES);
  if (count > 0) checked_range(at, count * MODULE_BYTES, "the modules");
  for (uint32_t i = 0; i < count; i++) {
    uint32_t entry = at + i * MODULE_BYTES, text = get32(entry + 8);
    const char *string = "";
    if (text) string = checked_text(text, checked_range(text, MOST_TEXT_BYTES, "a text").end, "the text of a module");
    add_module(into, get32(entry), get32(entry + 4), string);
  }
}

static void read_map(struct range map, struct information *into) {
  for (uint32_t at = map.first; map.end - at >= 4 + REGION_BYTES;) {
    uint32_t size_bytes = get32(at);
    if (size_bytes < REGION_BYTES || size_bytes > map.end - at - 4) break;
    add_region(into, get64(at + 4), get64(at + 12), get32(at + 20));
    at += 4 + size_bytes;
  }
}

static void read_screen(uint32_t at, struct screen *into) {
  uint8_t type = get8(at + 21);
  if (type != TEXT_MODE && type != RGB) return;
  into->kind = type == RGB ? SCREEN_PIXELS : SCREEN_TEXT;
  into->base = get64(at);
  into->pitch_bytes = get32(at + 8);
  into->width = get32(at + 12);
  into->height = get32(at + 16);
  into->bits_per_pixel = get8(at + 20);
  copy(into->colours, (const void *)(at + 22), sizeof into->colours);
}

void read_multiboot1(uint32_t at, struct information *into) {
  checked_range(at, INFORMATION_BYTES, "its information");
  uint32_t flags = get32(at + FLAGS);
  if (flags & HAS_FRAMEBUFFER) read_screen(at + FRAMEBUFFER, &into->screen);
  show_on(&into->screen);
  if (flags & HAS_MMAP) {
    read_map(checked_range(get32(at + MMAP_ADDR), get32(at + MMAP_LENGTH), "the memory map"), into);
  } else if (flags & HAS_MEMORY) {
    add_region(into, 0, (uint64_t)get32(at + MEM_LOWER) << 10, 1);
    add_region(into, 1 << 20, (uint64_t)get32(at + MEM_UPPER) << 10, 1);
  }
  if (flags & HAS_MODS) read_modules(get32(at + MODS_ADDR), get32(at + MODS_COUNT), into);
}
