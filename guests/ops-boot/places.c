/* Memory that is free. */
#include "boot.h"

#define RAM                     1

int overlaps(struct range one, struct range other) { return one.first < other.end && other.first < one.end; }

/* Whether one region of RAM holds all of it. */
int is_ram(const struct information *information, struct range range) {
  for (uint32_t i = 0; i < information->region_count; i++) {
    const struct region *region = &information->regions[i];
    if (region->type == RAM && region->first <= range.first && region->first + region->size_bytes >= range.end) return 1;
  }
  return 0;
}

static const struct range *in_the_way(struct range place, const struct range *taken, uint32_t count) {
  for (uint32_t i = 0; i < count; i++)
    if (overlaps(place, taken[i])) return &taken[i];
  return 0;
}

static int fits(struct range within, uint64_t first, uint32_t size_bytes) {
  return first >= within.first && first + size_bytes <= within.end;
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* The lowest multiple of `align`, a power of two, in RAM and beside what is taken. 0: there is none. */
uint32_t lowest_free(const struct information *information, struct range within, uint32_t size_bytes, uint32_t align,
                     const struct range *taken, uint32_t taken_count) {
  uint64_t best = 0;
  for (uint32_t i = 0; i < information->region_count; i++) {
    const struct region *region = &information->regions[i];
    uint64_t end = region->first + region->size_bytes, at = larger(region->first, within.first);
    if (region->type != RAM) continue;
    for (;;) {
      at = (at + align - 1) & ~(uint64_t)(align - 1);
      if (!fits(within, at, size_bytes) || at + size_bytes > end) break;
      const struct range *other = in_the_way((struct range){at, at + size_bytes}, taken, taken_count);
      if (!other) {
        if (!best || at < best) best = at;
        break;
      }
      at = other->end;
    }
  }
  return (uint32_t)best;
}

/* The highest page. 0: there is none. */
uint32_t highest_free(const struct information *information, struct range within, uint32_t size_bytes,
                      const struct range *taken, uint32_t taken_count) {
  uint64_t best = 0;
  for (uint32_t i = 0; i < information->region_count; i++) {
    const struct region *region = &information->regions[i];
    uint64_t end = smaller(region->first + region->size_bytes, within.end);
    if (region->type != RAM) continue;
    while (end >= size_bytes) {
      uint64_t at = (end - size_bytes) & ~(uint64_t)(PAGE_BYTES - 1);
      if (!fits(within, at, size_bytes) || at < region->first) break;
      const struct range *other = in_the_way((struct range){at, at + size_bytes}, taken, taken_count);
      if (!other) {
        best = larger(best, at);
        break;
      }
      end = other->first;
    }
  }
  return (uint32_t)best;
}
