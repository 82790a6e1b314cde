/* What each module is, by what it holds. */
#include "boot.h"

#define BOOT_FLAG_AT            0x1fe   /* Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" */
#define MAGIC_AT                0x202
#define ELF_MAGIC               0x464c457f
#define ELF_TYPE_AT             16
#define ELF_RELOCATABLE         1
#define NAMING                  "pvops-module "
#define NAMING_MOST_BYTES       80

static int is_bzimage(struct range at) {
  return at.end - at.first >= MAGIC_AT + 4 && get16(at.first + BOOT_FLAG_AT) == 0xaa55 &&
         get32(at.first + MAGIC_AT) == 0x53726448;
}

static int is_elf(struct range at) {
  return at.end - at.first >= ELF_TYPE_AT + 2 && get32(at.first) == ELF_MAGIC;
}

/* The words that name an ops module of the host's. */
static int is_naming(struct range at) {
  uint32_t size_bytes = at.end - at.first, i = 0;
  if (size_bytes > NAMING_MOST_BYTES || size_bytes < sizeof NAMING) return 0;
  while (i < sizeof NAMING - 1 && get8(at.first + i) == (uint8_t)NAMING[i]) i++;
  return i == sizeof NAMING - 1;
}

static enum role role_of(struct range at, uint32_t number) {
  if (is_bzimage(at)) return KERNEL;
  if (is_naming(at)) return OPS;
  if (!is_elf(at)) return INITRD;
  if (get16(at.first + ELF_TYPE_AT) != ELF_RELOCATABLE)
    fail("module %u is an ELF program, neither a bzImage nor an object; give the kernel as vmlinuz", number);
  return OPS;
}

void find_roles(struct information *information) {
  for (uint32_t i = 0; i < information->module_count; i++)
    information->modules[i].role = role_of(information->modules[i].at, i + 1);
}

const struct module *kernel_among(const struct information *information) {
  const struct module *kernel = 0;
  for (uint32_t i = 0; i < information->module_count; i++) {
    if (information->modules[i].role != KERNEL) continue;
    if (kernel) fail("module %u is a second kernel; give one", i + 1);
    kernel = &information->modules[i];
  }
  if (!kernel) fail("no kernel among %u modules; give a bzImage: module /vmlinuz OPTIONS", information->module_count);
  return kernel;
}
