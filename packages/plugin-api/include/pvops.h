/*
 * An ops module in C: implementations for slots of a Linux kernel's paravirt table (docs/ops-modules.md). Compile with
 *
 *   gcc -c -O2 @packages/plugin-api/include/pvops.flags -I packages/plugin-api/include module.c
 *
 * and with -m32 -mregparm=3 as well for a 32-bit kernel.
 */
#ifndef PVOPS_H
#define PVOPS_H

/*
 * The API that the module is built against: -DPVOPS_API_MAJOR=2, or 1 if that is not said. The same source serves both; what is built
 * against one of them is loaded by machines that have it.
 */
#ifndef PVOPS_API_MAJOR
#define PVOPS_API_MAJOR 1
#endif
#if PVOPS_API_MAJOR == 1
#define PVOPS_API "^1.2"
#elif PVOPS_API_MAJOR == 2
#define PVOPS_API "^2.0"
#else
#error "PVOPS_API_MAJOR: this header has 1 and 2"
#endif

#ifdef __x86_64__
#define PVOPS_GUEST "linux64"
#else
#define PVOPS_GUEST "linux32"
#endif

/** Once in a module: its name, a lower-case word, and its own version, as 1.0.0. */
#define PVOPS_MODULE(name, version)                                                                \
  static const char pvops_manifest[] __attribute__((used, section(".pvops.manifest"))) =           \
      "name=" name "\nversion=" version "\napi=" PVOPS_API "\nguest=" PVOPS_GUEST "\n"

#if PVOPS_API_MAJOR == 1
#define PVOPS_SECTION ".pvops"
/** What the section .pvops is made of. The slot's name is as `vm ops report` lists it: "mmu.write_cr3". */
struct pvops_entry {
  char slot[48];
  const void *function;
  void *previous;
  unsigned int reserved[2];
};
#define PVOPS_ENTRY_(slot_name, function_name, previous_pointer, entry_flags)                      \
  {slot_name, (const void *)(function_name), (void *)(previous_pointer), {0, 0}}
#else
#define PVOPS_SECTION ".pvops.2"
/** A kernel that has no such slot is given the rest of the module. */
#define PVOPS_OPTIONAL 1u
/** What the section .pvops.2 is made of; size_bytes is that of this struct. */
struct pvops_entry {
  unsigned int size_bytes;
  unsigned int flags;
  const void *function;
  void *previous;
  char slot[80];
};
#define PVOPS_ENTRY_(slot_name, function_name, previous_pointer, entry_flags)                      \
  {sizeof(struct pvops_entry), entry_flags, (const void *)(function_name), (void *)(previous_pointer), slot_name}
#endif

#define PVOPS_JOIN_(a, b) a##b
#define PVOPS_JOIN(a, b) PVOPS_JOIN_(a, b)

/**
 * `function` is to be called for a slot. Before it is, the address of what was in the slot is written to `previous`, which
 * points to a function pointer of the module's, or is 0.
 */
#define PVOPS_OP(slot_name, function_name, previous_pointer)                                       \
  PVOPS_OP_(slot_name, function_name, previous_pointer, 0)
#define PVOPS_OP_(slot_name, function_name, previous_pointer, entry_flags)                         \
  static const struct pvops_entry PVOPS_JOIN(pvops_entry_, __COUNTER__)                            \
      __attribute__((used, aligned(8), section(PVOPS_SECTION))) =                                  \
          PVOPS_ENTRY_(slot_name, function_name, previous_pointer, entry_flags)

#if PVOPS_API_MAJOR >= 2
/** The same for a slot that not every kernel has. */
#define PVOPS_OPTIONAL_OP(slot_name, function_name, previous_pointer)                              \
  PVOPS_OP_(slot_name, function_name, previous_pointer, PVOPS_OPTIONAL)
#endif

#endif
