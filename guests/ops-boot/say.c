/* Lines for whoever watches: the serial port as the loader left it, and text on the screen. */
#include <stdarg.h>
#include "boot.h"

#define UART                    0x3f8   /* COM1 (16550: transmitter holding register, line status register) */
#define UART_LINE_STATUS        5
#define UART_CAN_TAKE           0x20
#define PATIENCE                100000  /* looks at the line status before a byte is given up */
#define TEXT_SCREEN             0xb8000
#define GREY_ON_BLACK           0x0700
#define MOST_SHOWN              60      /* characters of a text that is not ours */

static uint32_t columns, rows, row, column;

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

/* From now on lines are shown there, too; the first in the top row. */
void show_on(const struct screen *screen) {
  if (screen->kind != SCREEN_TEXT || screen->base != TEXT_SCREEN) return;
  columns = screen->width;
  rows = screen->height;
}
uint32_t screen_row(void) { return row; }

static void put_on_screen(char letter) {
  if (row >= rows) return;
  if (letter == '\n') {
    column = 0;
    row++;
    return;
  }
  if (column >= columns) return;
  ((volatile uint16_t *)TEXT_SCREEN)[row * columns + column++] = GREY_ON_BLACK | (uint8_t)letter;
}

static void put_serially(char letter) {
  for (uint32_t looks = 0; looks < PATIENCE && !(in8(UART + UART_LINE_STATUS) & UART_CAN_TAKE); looks++)
    ;
  out8(UART, (uint8_t)letter);
}

static void put(char letter) {
  if (letter == '\n') put_serially('\r');
  put_serially(letter);
  put_on_screen(letter);
}

static void put_text(const char *text) {
  for (uint32_t i = 0; text[i] && i < MOST_SHOWN; i++) put(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
}

static void put_number(uint32_t value, uint32_t base) {
  char digits[11];
  uint32_t count = 0;
  do digits[count++] = "0123456789abcdef"[value % base];
  while (value /= base);
  while (count) put(digits[--count]);
}

void say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  put_text("ops-boot: ");
  for (; *format; format++) {
    if (*format != '%') put(*format);
    else if (*++format == 's') put_text(va_arg(arguments, const char *));
    else put_number(va_arg(arguments, uint32_t), *format == 'x' ? 16 : 10);
  }
  put('\n');
  va_end(arguments);
}

void halt(void) {
  for (;;) __asm__ volatile("cli; hlt");
}
