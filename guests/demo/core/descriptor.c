/* The command that reads the boot descriptor: the same under every hypervisor interface, and under none. */
#include "commands.h"
#include "print.h"

/* Leaves of CPUID: docs/plugin-authoring.md, "The boot descriptor". */
enum { LEAF_SIGNATURE = 0x4000ff00, LEAF_HYPERVISOR, LEAF_GUEST_TYPE, LEAF_DATA };
enum { TEXT_BYTES = 12 };

struct leaf {
    u32 eax;
    /* EBX, ECX, EDX, and a 0 that ends them as a text. */
    union {
        u32 words[TEXT_BYTES / sizeof(u32) + 1];
        char text[TEXT_BYTES + sizeof(u32)];
    };
};

static struct leaf cpuid(u32 number)
{
    struct leaf leaf = { .eax = number };

    __asm__ volatile("cpuid" : "+a"(leaf.eax), "=b"(leaf.words[0]), "=c"(leaf.words[1]), "=d"(leaf.words[2]));
    return leaf;
}

static const char *space_name(u32 space)
{
    switch (space) {
    case 1:
        return "guest-physical";
    case 2:
        return "guest-virtual";
    default:
        return "nowhere";
    }
}

void command_who(const struct boot_info *boot, const char *argument)
{
    struct leaf signature = cpuid(LEAF_SIGNATURE), hypervisor = cpuid(LEAF_HYPERVISOR);
    struct leaf type = cpuid(LEAF_GUEST_TYPE), data = cpuid(LEAF_DATA);

    (void)boot, (void)argument;
    if (!same_text(signature.text, "BootDescript")) {
        print("no boot descriptor\n");
        return;
    }
    print("hypervisor %s, ABI %llu.%llu, guest type %s, data at 0x%llx %s\n", hypervisor.text,
          (u64)hypervisor.eax >> 16, (u64)hypervisor.eax & 0xffff, type.text,
          (u64)data.words[0] << 32 | data.eax, space_name(data.words[1]));
}
