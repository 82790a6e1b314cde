/* What the parts of ops-boot know of each other. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define MOST_MODULES            64
#define MOST_REGIONS            127     /* of the 128 that a zero page holds; one is for the RSDP */
#define MOST_TEXT_BYTES         4096
#define PAGE_BYTES              4096u
#define RSDP_BYTES              64

/* Bytes of physical memory, below 4 GiB; `end` is the first beyond. */
struct range {
  uint32_t first, end;
};

/* As INT 15h, AX = E820h has it; type 1 is RAM. */
struct region {
  uint64_t first, size_bytes;
  uint32_t type;
};

enum role { INITRD, KERNEL, OPS };

struct module {
  struct range at;
  const char *text;             /* the loader's, checked to have an end */
  enum role role;
};

struct screen {
  enum { SCREEN_UNKNOWN, SCREEN_TEXT, SCREEN_PIXELS } kind;
  uint64_t base;
  uint32_t pitch_bytes, width, height;
  uint8_t bits_per_pixel;
  uint8_t colours[6];           /* position and size of red, green, blue */
};

/* What the loader has said. */
struct information {
  uint32_t module_count;
  struct module modules[MOST_MODULES];
  uint32_t region_count;
  struct region regions[MOST_REGIONS];
  struct screen screen;
  uint8_t rsdp[RSDP_BYTES];     /* ACPI's, a copy */
  uint32_t rsdp_bytes;          /* 0: none was given */
};

/* A kernel's image, its file in memory, and where it is to be. */
struct kernel {
  struct range file;
  const char *text;
  struct range code;            /* the protected-mode code in the file */
  uint32_t load_at;             /* where that is to be */
  struct range room;            /* all that the kernel uses before it looks at the memory map */
  uint32_t initrd_most;         /* highest address of the initrd's last byte */
  uint32_t command_line_most;   /* bytes, without the NUL */
};

/* say.c: on the first serial port, and on the screen if that shows text. %s (printable, cut), %u, %x. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What is wrong, and what to do; then halts. */
#define fail(...) (say(__VA_ARGS__), halt())
void halt(void) __attribute__((noreturn));
void show_on(const struct screen *screen);
uint32_t screen_row(void);

/* information.c */
void read_information(uint32_t magic, uint32_t at, struct information *into);
void read_multiboot1(uint32_t at, struct information *into);
void read_multiboot2(uint32_t at, struct information *into);
struct range checked_range(uint64_t first, uint64_t size_bytes, const char *what);
const char *checked_text(uint32_t at, uint32_t end, const char *what);
void add_module(struct information *into, uint32_t first, uint32_t end, const char *text);
void add_region(struct information *into, uint64_t first, uint64_t size_bytes, uint32_t type);

/* modules.c */
void find_roles(struct information *information);
const struct module *kernel_among(const struct information *information);

/* places.c */
int overlaps(struct range one, struct range other);
int is_ram(const struct information *information, struct range range);
uint32_t lowest_free(const struct information *information, struct range within, uint32_t size_bytes, uint32_t align,
                     const struct range *taken, uint32_t taken_count);
uint32_t highest_free(const struct information *information, struct range within, uint32_t size_bytes,
                      const struct range *taken, uint32_t taken_count);

/* kernel.c */
void read_kernel(const struct module *module, struct kernel *into);
void place_kernel(const struct information *information, struct kernel *kernel, struct range hand_off);

/* zero_page.c, video.c: at most 4096 bytes, all 0 before. */
struct hand_off;
void fill_zero_page(struct hand_off *hand_off, const struct information *information, const struct kernel *kernel,
                    struct range initrd);
void fill_screen_info(uint8_t *into, const struct screen *screen);

/* hand_over.c */
void hand_over(const struct information *information, const struct kernel *kernel);

static inline uint16_t get16(uint32_t at) { return *(const volatile uint16_t *)at; }
static inline uint32_t get32(uint32_t at) { return *(const volatile uint32_t *)at; }
static inline uint64_t get64(uint32_t at) { return get32(at) | (uint64_t)get32(at + 4) << 32; }
static inline uint8_t get8(uint32_t at) { return *(const volatile uint8_t *)at; }

static inline void copy(void *to, const void *from, uint32_t size_bytes) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size_bytes) : : "memory");
}
static inline void clear(void *at, uint32_t size_bytes) {
  __asm__ volatile("rep stosb" : "+D"(at), "+c"(size_bytes) : "a"(0) : "memory");
}
