/* Multiboot2 information: tags (2.0, 3.6). */
#include "boot.h"

enum tag { END = 0, MODULE = 3, MEMORY_MAP = 6, FRAMEBUFFER = 8, ACPI_OLD = 14, ACPI_NEW = 15 };
#define HEADER_BYTES            8
#define REGION_BYTES            24
#define TEXT_MODE               2
#define RGB                     1

static void read_module(struct range tag, struct information *into) {
  if (tag.end - tag.first <= 16) fail("the boot loader describes a module badly; use another");
  const char *text = checked_text(tag.first + 16, tag.end, "the text of a module");
  add_module(into, get32(tag.first + 8), get32(tag.first + 12), text);
}

static void read_map(struct range tag, struct information *into) {
  if (tag.end - tag.first < 16) return;
  uint32_t entry_bytes = get32(tag.first + 8);
  if (entry_bytes < REGION_BYTES) return;
  for (uint32_t at = tag.first + 16; entry_bytes <= tag.end - at; at += entry_bytes)
    add_region(into, get64(at), get64(at + 8), get32(at + 16));
}

static void read_screen(struct range tag, struct screen *into) {
  uint32_t at = tag.first, size_bytes = tag.end - tag.first;
  if (size_bytes < 32) return;
  uint8_t type = get8(at + 29);
  if (type != TEXT_MODE && (type != RGB || size_bytes < 38)) return;
  into->kind = type == RGB ? SCREEN_PIXELS : SCREEN_TEXT;
  into->base = get64(at + 8);
  into->pitch_bytes = get32(at + 16);
  into->width = get32(at + 20);
  into->height = get32(at + 24);
  into->bits_per_pixel = get8(at + 28);
  if (type == RGB) copy(into->colours, (const void *)(at + 32), sizeof into->colours);
}

static void read_tag(uint32_t type, struct range tag, struct information *into) {
  uint32_t size_bytes = tag.end - tag.first;
  if (type == MODULE) read_module(tag, into);
  else if (type == MEMORY_MAP) read_map(tag, into);
  else if (type == FRAMEBUFFER) {
    read_screen(tag, &into->screen);
    show_on(&into->screen);
  } else if ((type == ACPI_NEW || (type == ACPI_OLD && !into->rsdp_bytes)) && size_bytes - HEADER_BYTES <= RSDP_BYTES) {
    into->rsdp_bytes = size_bytes - HEADER_BYTES;
    copy(into->rsdp, (const void *)(tag.first + HEADER_BYTES), into->rsdp_bytes);
  }
}

void read_multiboot2(uint32_t at, struct information *into) {
  checked_range(at, HEADER_BYTES, "its information");
  struct range all = checked_range(at, get32(at), "its information");
  for (uint32_t tag = at + HEADER_BYTES; tag < all.end && all.end - tag >= HEADER_BYTES;) {
    uint32_t type = get32(tag), size_bytes = get32(tag + 4);
    if (type == END) return;
    if (size_bytes < HEADER_BYTES || size_bytes > all.end - tag) break;
    read_tag(type, (struct range){tag, tag + size_bytes}, into);
    tag += (size_bytes + 7) & ~7u;
  }
  fail("the boot loader's information has no end; use another");
}
