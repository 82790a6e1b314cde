#include "vmi.h"

static void end(void) {
  print_decimal(checks);
  print(" checks, ");
  print_decimal(failures);
  print(" failed\n");
}

/* Whether the command line has a word. */
static int says(const char *text, const char *word) {
  for (; *text; text++) {
    u32 i = 0;
    while (word[i] && text[i] == word[i]) i++;
    if (word[i] == 0) return 1;
  }
  return 0;
}

/* How to end: the command line says "reboot" or does not. */
static void leave(const char *command_line) {
  int reboot = says(command_line, "reboot");
  if (is_called(Reboot)) {
    vmi(Reboot, 7, 0, 0, 0, 0);
    vmi(reboot ? Reboot : Shutdown, 0, 0, 0, 0, 0);
  }
  /* The reset control register (Intel 82371SB data sheet, 4.2.2). */
  if (reboot) outb(0xcf9, 6);
  power_off();
}

void main(const char *command_line) {
  machine_start();
  if (!find_rom()) {
    print("no VMI ROM\n");
    power_off();
  }
  if (!activate_rom()) power_off();
  patch_sites();
  test_cpu();
  test_descriptors();
  test_switches();
  test_timers(!says(command_line, "irq0"));
  if (says(command_line, "processors")) test_second_processor();
  test_memory();
  test_pae();
  end();
  leave(command_line);
}
