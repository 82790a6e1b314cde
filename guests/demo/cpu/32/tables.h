/* Page tables of our own: tables.S. */
#pragma once
#include "../../core/types.h"

extern u64 page_directory_pointers[4], page_table[512];
extern char image_virtual_base[];

enum { PTE_PRESENT = 1, PTE_WRITABLE = 2, PTE_ACCESSED = 0x20, PTE_DIRTY = 0x40 };

static inline word physical(const volatile void *object)
{
    return (word)object - (word)image_virtual_base;
}

/* What a door left at a physical address below 2 MB. */
static inline void *at_physical(word address)
{
    return image_virtual_base + address;
}

static inline u64 *entry_of(const volatile void *page)
{
    return &page_table[physical(page) / PAGE_BYTES];
}

static inline u64 entry_for(u64 frame)
{
    return frame * PAGE_BYTES | PTE_PRESENT | PTE_WRITABLE | PTE_ACCESSED | PTE_DIRTY;
}
