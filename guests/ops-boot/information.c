/* What both kinds of Multiboot information have in common. */
#include "boot.h"

#define MAGIC1                  0x2badb002      /* in EAX (0.6.96, 3.2) */
#define MAGIC2                  0x36d76289      /* (2.0, 3.3) */

void read_information(uint32_t magic, uint32_t at, struct information *into) {
  if (magic == MAGIC1) read_multiboot1(at, into);
  else if (magic == MAGIC2) read_multiboot2(at, into);
  else fail("not started by a Multiboot loader (EAX is 0x%x); use multiboot or multiboot2 of GRUB", magic);
  if (into->region_count == 0) fail("the boot loader gives no memory map; use another");
}

/* Throws out what is not below 4 GiB, where everything that is read has to be. */
struct range checked_range(uint64_t first, uint64_t size_bytes, const char *what) {
  if (first == 0 || first >> 32 || size_bytes >> 32 || (first + size_bytes) >> 32)
    fail("the boot loader gives a wrong address for %s; use another", what);
  return (struct range){(uint32_t)first, (uint32_t)(first + size_bytes)};
}

/* A text at `at` that ends before `end`. */
const char *checked_text(uint32_t at, uint32_t end, const char *what) {
  for (uint32_t i = at; i < end && i - at < MOST_TEXT_BYTES; i++)
    if (get8(i) == 0) return (const char *)at;
  fail("%s has no end within %u bytes; give a shorter one", what, MOST_TEXT_BYTES);
}

void add_module(struct information *into, uint32_t first, uint32_t end, const char *text) {
  if (into->module_count == MOST_MODULES) fail("more than %u modules; give fewer", MOST_MODULES);
  struct module *module = &into->modules[into->module_count++];
  if (end < first) fail("module %u ends before it begins; use another boot loader", into->module_count);
  module->at = first == end ? (struct range){0, 0} : checked_range(first, end - first, "a module");
  module->text = text;
}

void add_region(struct information *into, uint64_t first, uint64_t size_bytes, uint32_t type) {
  if (into->region_count == MOST_REGIONS) fail("the memory map has more than %u entries; start Linux directly", MOST_REGIONS);
  into->regions[into->region_count++] = (struct region){first, size_bytes, type};
}
