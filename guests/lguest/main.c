/* A guest of lguest: tries every hypercall of one ABI, or breaks the rule that the command line names. */
#include "guest.h"

static const struct era eras[] = {
    {"2.6.24", 0, 1, 0, 4, 1, 1, 0, 1},
    {"2.6.25", 0, 1, 0, 4, 1, 1, 0, 0},
    {"2.6.30", 1, 0, 0, 4, 1, 1, 0, 0},
    {"2.6.31", 1, 0, 1, 5, 1, 1, 0, 0},
    {"2.6.35", 0, 0, 1, 5, 1, 1, 0, 0},
    {"3.1", 0, 0, 1, 5, 0, 1, 0, 0},
    {"4.0", 0, 0, 1, 5, 0, 1, 1, 0},
    {"4.1", 0, 0, 1, 5, 0, 0, 1, 0},
};
/* pv_info.name of a kernel with lguest's guest side; what looks for that finds this guest. */
static const char *volatile name = "lguest";
const struct era *era;
static const char *command_line;
static int registered, wrong;

volatile u32 traps[256];
volatile struct frame last, last_user_fault;
volatile u32 enabled_in_trap;
volatile u32 resume;

void fill(void *at, u8 value, u32 bytes)
{
  u8 *byte = at;
  while (bytes--) *byte++ = value;
}

int same(const char *a, const char *b)
{
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

/* The value of name=value on the command line. */
const char *word(const char *wanted)
{
  static char value[32];
  for (const char *at = command_line; *at; at++) {
    u32 i = 0;
    while (wanted[i] && at[i] == wanted[i]) i++;
    if (wanted[i] || at[i] != '=' || (at != command_line && at[-1] != ' ')) continue;
    u32 n = 0;
    for (at += i + 1; *at && *at != ' ' && n < sizeof value - 1; at++) value[n++] = *at;
    value[n] = 0;
    return value;
  }
  return "";
}

void print(const char *text)
{
  static char line[128];
  u32 n = 0;
  while (*text && n < sizeof line - 1) line[n++] = *text++;
  line[n] = 0;
  if (registered && era->pci) print_on_pci(line);
  else if (registered) hcall(NOTIFY, PA(line), 0, 0, 0);
}

void print_number(const char *what, u32 value)
{
  char text[9];
  for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
  text[8] = 0;
  print(what);
  print(text);
  print("\n");
}

void check(const char *what, int so)
{
  print(so ? "ok " : "WRONG ");
  print(what);
  print("\n");
  if (!so) wrong = 1;
}

void end(const char *message, u32 reason)
{
  hcall(SHUTDOWN, PA(message), reason, 0, 0);
  for (;;) ;
}

void trap(struct frame *frame)
{
  u32 vector = frame->vector;
  traps[vector & 255]++;
  last = *frame;
  if (irq_enabled) enabled_in_trap = *irq_enabled;
  if (vector == 7) hcall(TS, 0, 0, 0, 0);
  else if (vector == 128) {
    extern void leave_user(void);
    if (frame->eax == 3) leave_user();
  } else if (vector < 32 && vector != 3) {
    if ((frame->cs & 3) == 3) {
      if (vector == 14) last_user_fault = *frame;
      frame->eip += 2; /* the user's IN, INT 0x1f and loads */
    } else if (resume) {
      frame->eip = resume;
      resume = 0;
    } else {
      print_number("unexpected trap ", vector);
      print_number("eip ", frame->eip);
      end("trap", POWEROFF);
    }
  }
}

static void check_boot(u32 esi, u32 esp)
{
  const u8 *boot = VA(0);
  check("registers are 0", esi == 0 && esp == 0);
  check("boot protocol 2.07", *(u16 *)(boot + 0x206) == 0x207);
  check("hardware_subarch is lguest's", *(u32 *)(boot + 0x23c) == 1);
  check("KEEP_SEGMENTS", (boot[0x211] & 0x40) != 0);
  check("one e820 entry from 0 on", boot[0x1e8] == 1 && *(u64 *)(boot + 0x2d0) == 0 && *(u32 *)(boot + 0x2e0) == 1);
  u32 cs, eflags;
  asm volatile("mov %%cs, %0; pushf; pop %1" : "=r"(cs), "=r"(eflags));
  check("level 1, interrupts on though cleared", cs == 0x61 && (eflags & IF));
}

void main(u32 esp, u32 esi)
{
  command_line = VA(*(u32 *)VA(0x228));
  const char *wanted = word("era");
  era = &eras[3];
  for (u32 i = 0; i < sizeof eras / sizeof *eras; i++)
    if (same(eras[i].name, wanted)) era = &eras[i];
  pae = same(word("pae"), "on");
  lay_out_data();
  const char *first = word("first");
  if (*first) break_rule(first);
  hcall(LGUEST_INIT, PA(lguest_data), 0, 0, 0);
  registered = 1;
  print("lguest guest, ABI ");
  print(era->name);
  print("\n");
  check_boot(esi, esp);
  gates();
  const char *rule = word("break");
  if (*rule) {
    break_rule(rule);
    print("survived\n");
    end("survived", POWEROFF);
  }
  try_calls();
  if (era->pci) try_pci();
  else if (era->typed_fields) try_typed_devices();
  else try_devices();
  print(name);
  print(wrong ? ": something was WRONG\n" : ": all ok\n");
  const char *reason = word("end");
  if (same(reason, "restart")) end("again", RESTART);
  end(same(reason, "panic") ? "the guest panics" : wrong ? "wrong" : "Power down", POWEROFF);
}
