/* lguest's interface as this guest uses it: Linux 2.6.32, asm/lguest_hcall.h and linux/lguest.h; older ones as packages/plugin-lguest-like says. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum {
  FLUSH_ASYNC = 0, LGUEST_INIT = 1, SHUTDOWN = 2, LOAD_GDT = 3, NEW_PGTABLE = 4, FLUSH_TLB = 5, LOAD_IDT_ENTRY = 6,
  SET_STACK = 7, TS = 8, SET_CLOCKEVENT = 9, HALT = 10, SET_PMD = 13, SET_PTE = 14, SET_PGD = 15, LOAD_TLS = 16,
  NOTIFY = 17, LOAD_GDT_ENTRY = 18, SEND_INTERRUPTS = 19,
};
enum { POWEROFF = 1, RESTART = 2 };
#define OFFSET 0xc0000000u
#define PA(pointer) ((u32)(pointer) - OFFSET)
#define VA(address) ((void *)((u32)(address) + OFFSET))
#define RING 64
#define IF 0x200u

/* One of lguest's ABIs. */
struct era {
  const char *name;
  u8 vmcall, old_registers, irq_pending, words, pgdir, noirq_range, pci, typed_fields;
};
extern const struct era *era;

/* struct lguest_data, whose fields are where the era has them. */
extern u8 lguest_data[4096];
extern volatile u32 *irq_enabled, *blocked, *cr2, *seconds, *nanoseconds, *irq_pending, *ring, *reserve_mem, *tsc_khz, *pgdir,
    *noirq_start, *noirq_end, *kernel_address, *syscall_vec;
extern volatile u8 *ring_status;

void lay_out_data(void);
void hcall(u32 call, u32 a, u32 b, u32 c, u32 d);
/* The other way to call, which the era does not have or treats as the same. */
void hcall_otherwise(u32 call, u32 a, u32 b, u32 c, u32 d);
void hcall_in_ring(u32 place, u32 call, u32 a, u32 b, u32 c, u32 d);

/* What a gate pushes, lowest address first. */
struct frame {
  u32 ds, edi, esi, ebp, esp, ebx, edx, ecx, eax, vector, code, eip, cs, eflags, user_esp, user_ss;
};
extern volatile u32 traps[256];
extern volatile struct frame last, last_user_fault;
/* irq_enabled as the last handler found it. */
extern volatile u32 enabled_in_trap;
/* Write where nothing is mapped, or not for writing, and go on behind that. */
void fault_at(volatile u32 *at);
/* Where to go on after a fault; 0: nowhere, the guest ends. */
extern volatile u32 resume;

void print(const char *text);
void print_number(const char *name, u32 value);
/* One line: what, and whether it was so. */
void check(const char *what, int so);
void end(const char *message, u32 reason) __attribute__((noreturn));
const char *word(const char *name);
int same(const char *a, const char *b);
void fill(void *at, u8 value, u32 bytes);

void set_gate(u32 vector, void *handler, u32 type, u32 dpl);
void *page(void);
void gates(void);
void set_user_segments(void);
void try_calls(void);
void break_rule(const char *which);
void try_devices(void);
/* The same as 2.6.24 describes them. */
void try_typed_devices(void);
/* The same on the PCI bus of 4.0 and later, and text before there are drivers. */
void try_pci(void);
void print_on_pci(const char *text);
extern u32 *own_tables;
/* Page tables of PAE: the command line says so to the guest and to the host alike. */
extern int pae;
void take_tables(void);
void map(u32 address, u32 entry);
