/* Finding a ROM, and asking it for its calls: Linux 2.6.32, arch/x86/kernel/vmi_32.c, probe_vmi_rom and vmi_get_function. */
#include "rom.h"
#include "tables.h"

enum { ROMS_START = 0xc0000, ROMS_END = 0xe0000, ROM_STEP = 2048 };
enum { ROM_SIGNATURE = 0xaa55, VMI_SIGNATURE = 0x696d5663, API_MAJOR = 3 };
enum { RELOCATION_NONE, RELOCATION_CALL, RELOCATION_JUMP, RELOCATION_NOP };

/* struct vrom_header */
struct header {
    u16 signature;
    u8 length;
    u8 start[4];
    u8 reserved1;
    u32 vmi_signature;
    u8 api_minor, api_major, jump_slots, reserved2;
    u32 virtual_top;
    u16 reserved3, licence, pci, pnp;
    u32 reserved4;
    u8 reserved5[96];
    u8 init[8];
    u8 get_relocation_info[8];
};

/* Of the Plug and Play header, what names the ROM (Plug and Play BIOS Specification 1.0A, 3.2). */
struct pnp_header {
    u8 other[14];
    u16 manufacturer, product;
};

_Static_assert(offsetof(struct header, init) == 0x80, "struct header");

static struct header *rom;
static u8 types[ROM_CALLS];
static u32 targets[ROM_CALLS];

static bool same(const char *a, const char *b)
{
    while (*a != '\0' && *a == *b)
        a++, b++;
    return *a == *b;
}

static const char *text_at(u16 offset)
{
    return offset == 0 ? "" : (const char *)rom + offset;
}

static bool is_acceptable(void)
{
    if (rom->signature != ROM_SIGNATURE || rom->vmi_signature != VMI_SIGNATURE || rom->api_major != API_MAJOR)
        return false;
    return rom->pci != 0 && (same(text_at(rom->licence), "GPL") || same(text_at(rom->licence), "GPL v2"));
}

/* regparm(3): EAX, EDX, ECX, then the stack; the result is in EDX:EAX. */
static u64 call_code(const void *code, u32 eax, u32 edx, u32 ecx, u32 stack)
{
    __asm__ volatile("push %4\n\tcall *%3\n\tadd $4, %%esp"
                     : "+a"(eax), "+d"(edx), "+c"(ecx)
                     : "r"(code), "r"(stack)
                     : "memory", "cc");
    return (u64)edx << 32 | eax;
}

bool rom_find(void)
{
    for (word at = ROMS_START; at < ROMS_END; at += ROM_STEP) {
        rom = at_physical(at);
        if (!is_acceptable() || (u32)call_code(rom->init, 0, 0, 0, 0) != 0)
            continue;
        for (u32 call = 0; call < ROM_CALLS; call++) {
            u64 answer = call_code(rom->get_relocation_info, call, 0, 0, 0);

            targets[call] = (u32)answer;
            types[call] = (u8)(answer >> 32);
        }
        return true;
    }
    return false;
}

const char *rom_describe(void)
{
    static char text[64];
    const struct pnp_header *pnp = (const void *)((const char *)rom + rom->pnp);
    const char *parts[] = { rom->pnp ? text_at(pnp->manufacturer) : "a ROM", " ", rom->pnp ? text_at(pnp->product) : "",
                            ", a VMI ROM of API 3" };
    char *end = text;

    for (word i = 0; i < ARRAY_LENGTH(parts); i++)
        for (const char *part = parts[i]; *part != '\0' && end < text + sizeof text - 1; part++)
            *end++ = *part;
    *end = '\0';
    return text;
}

bool rom_call(enum rom_call call, u32 eax, u32 edx, u32 ecx, u32 stack, u64 *result)
{
    u64 answer = 0;

    if (types[call] == RELOCATION_CALL)
        answer = call_code((const void *)targets[call], eax, edx, ecx, stack);
    else if (types[call] != RELOCATION_NOP)
        return false;
    if (result)
        *result = answer;
    return true;
}

u32 rom_result32(enum rom_call call)
{
    u64 result = 0;

    rom_call(call, 0, 0, 0, 0, &result);
    return (u32)result;
}

void rom_jump_target(enum rom_call call, const void **target)
{
    if (types[call] == RELOCATION_JUMP)
        *target = (const void *)targets[call];
}
