/*
 * An ops module in C: implementations for slots of a Linux kernel's paravirt table (docs/ops-modules.md). Compile with
 *
 *   gcc -c -O2 @packages/plugin-api/include/pvops.flags -I packages/plugin-api/include module.c
 *
 * and with -m32 -mregparm=3 as well for a 32-bit kernel.
 */
#ifndef PVOPS_H
#define PVOPS_H

/** The API that this header belongs to. */
#define PVOPS_API "^1.2"

#ifdef __x86_64__
#define PVOPS_GUEST "linux64"
#else
#define PVOPS_GUEST "linux32"
#endif

/** Once in a module: its name, a lower-case word, and its own version, as 1.0.0. */
#define PVOPS_MODULE(name, version)                                                                \
  static const char pvops_manifest[] __attribute__((used, section(".pvops.manifest"))) =           \
      "name=" name "\nversion=" version "\napi=" PVOPS_API "\nguest=" PVOPS_GUEST "\n"

/** What the section .pvops is made of. The slot's name is as `vm ops report` lists it: "mmu.write_cr3". */
struct pvops_entry {
  char slot[48];
  const void *function;
  void *previous;
  unsigned int reserved[2];
};

#define PVOPS_JOIN_(a, b) a##b
#define PVOPS_JOIN(a, b) PVOPS_JOIN_(a, b)

/**
 * `function` is to be called for a slot. Before it is, the address of what was in the slot is written to `previous`, which
 * points to a function pointer of the module's, or is 0.
 */
#define PVOPS_OP(slot_name, function_name, previous_pointer)                                       \
  static const struct pvops_entry PVOPS_JOIN(pvops_entry_, __COUNTER__)                            \
      __attribute__((used, aligned(8), section(".pvops"))) = {slot_name, (const void *)(function_name), \
                                                               (void *)(previous_pointer), {0, 0}}

#endif
