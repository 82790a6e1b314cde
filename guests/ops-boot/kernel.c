/* A bzImage: what its setup header asks for (Linux, Documentation/arch/x86/boot.rst, "Details of Header Fields"). */
#include "boot.h"

enum field {
  SETUP_SECTS = 0x1f1, SYSSIZE = 0x1f4, VERSION = 0x206, LOADFLAGS = 0x211, CODE32_START = 0x214,
  INITRD_ADDR_MAX = 0x22c, KERNEL_ALIGNMENT = 0x230, RELOCATABLE_KERNEL = 0x234, CMDLINE_SIZE = 0x238,
  PREF_ADDRESS = 0x258, INIT_SIZE = 0x260, HEADER_END = 0x264
};
#define OLDEST                  0x20a   /* the first that says how much memory the kernel needs, and where */
#define LOADED_HIGH             1
#define SECTOR_BYTES            512
#define DEFAULT_SETUP_SECTS     4

/* Below the 4 GiB that 32-bit code reaches, with something left for sums. */
static const struct range REACHABLE = {0x100000, 0xfffff000};

void read_kernel(const struct module *module, struct kernel *into) {
  struct range file = module->at;
  if (file.end - file.first < HEADER_END) fail("the kernel is cut short, at %u bytes; copy it again", file.end - file.first);
  uint32_t version = get16(file.first + VERSION), sectors = get8(file.first + SETUP_SECTS);
  if (version < OLDEST || !(get8(file.first + LOADFLAGS) & LOADED_HIGH))
    fail("the kernel has boot protocol 0x%x, older than 2.10; start it with linux of GRUB", version);
  uint32_t code_at = ((sectors ? sectors : DEFAULT_SETUP_SECTS) + 1) * SECTOR_BYTES;
  uint64_t code_bytes = (uint64_t)get32(file.first + SYSSIZE) * 16;
  if (code_at + code_bytes >= (uint64_t)(file.end - file.first) + 16)
    fail("the kernel is cut short, at %u bytes; copy it again", file.end - file.first);
  into->file = file;
  into->text = module->text;
  into->code = (struct range){file.first + code_at, file.end};
  into->initrd_most = get32(file.first + INITRD_ADDR_MAX);
  into->command_line_most = get32(file.first + CMDLINE_SIZE);
}

static void no_room(uint32_t size_bytes) {
  fail("no room for the kernel, which needs %u KiB in one piece; give the machine more memory", size_bytes >> 10);
}

/*
 * A relocatable kernel where it prefers to be, or as low above that as there is room: from a lower place it would go to the
 * preferred one by itself. Any other at code32_start, and from pref_address on it needs its memory.
 */
void place_kernel(const struct information *information, struct kernel *kernel, struct range hand_off) {
  uint32_t header = kernel->file.first, needs = get32(header + INIT_SIZE), code_bytes = kernel->code.end - kernel->code.first;
  uint64_t preferred = get64(header + PREF_ADDRESS);
  if (needs < code_bytes) needs = code_bytes;
  if (preferred < REACHABLE.first || preferred + needs > REACHABLE.end) no_room(needs);
  if (get8(header + RELOCATABLE_KERNEL)) {
    uint32_t align = get32(header + KERNEL_ALIGNMENT);
    if (align == 0 || align & (align - 1)) fail("the kernel is to be aligned to %u bytes; copy it again", align);
    struct range within = {(uint32_t)preferred, REACHABLE.end};
    kernel->load_at = lowest_free(information, within, needs, align, &hand_off, 1);
    kernel->room = (struct range){kernel->load_at, kernel->load_at + needs};
    if (!kernel->load_at) no_room(needs);
    return;
  }
  kernel->load_at = get32(header + CODE32_START);
  uint32_t runs_at = kernel->load_at > preferred ? kernel->load_at : (uint32_t)preferred;
  kernel->room = (struct range){kernel->load_at, runs_at + needs};
  if (kernel->load_at < REACHABLE.first || kernel->room.end < runs_at || !is_ram(information, kernel->room)) no_room(needs);
}
