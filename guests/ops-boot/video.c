/* What of the screen a kernel is told: struct screen_info, at the start of the zero page (Linux, include/uapi/linux/screen_info.h). */
#include "boot.h"

enum field {
  ORIG_Y = 1, VIDEO_MODE = 6, COLUMNS = 7, ROWS = 14, IS_VGA = 15, POINTS = 16, WIDTH = 18, HEIGHT = 20, DEPTH = 22,
  BASE = 24, SIZE = 28, PITCH = 36, COLOURS = 38, CAPABILITIES = 54, BASE_HIGH = 58
};
#define VGA_TEXT_MODE           3
#define VGA_FONT_POINTS         16
#define LINEAR_FRAMEBUFFER      0x23
#define BASE_IS_WIDE            2
#define SIZE_UNIT_SHIFT         16      /* of this kind of framebuffer */

static void put16(uint8_t *at, uint32_t value) { *(uint16_t *)at = (uint16_t)value; }
static void put32(uint8_t *at, uint32_t value) { *(uint32_t *)at = value; }

static void fill_text(uint8_t *into, const struct screen *screen) {
  into[ORIG_Y] = (uint8_t)screen_row();
  into[VIDEO_MODE] = VGA_TEXT_MODE;
  into[COLUMNS] = (uint8_t)screen->width;
  into[ROWS] = (uint8_t)screen->height;
  into[IS_VGA] = 1;
  put16(into + POINTS, VGA_FONT_POINTS);
}

static void fill_pixels(uint8_t *into, const struct screen *screen) {
  into[IS_VGA] = LINEAR_FRAMEBUFFER;
  put16(into + WIDTH, screen->width);
  put16(into + HEIGHT, screen->height);
  put16(into + DEPTH, screen->bits_per_pixel);
  put32(into + BASE, (uint32_t)screen->base);
  put32(into + SIZE, (screen->pitch_bytes * screen->height + (1u << SIZE_UNIT_SHIFT) - 1) >> SIZE_UNIT_SHIFT);
  put16(into + PITCH, screen->pitch_bytes);
  for (uint32_t i = 0; i < sizeof screen->colours; i += 2) {
    into[COLOURS + i] = screen->colours[i + 1];
    into[COLOURS + i + 1] = screen->colours[i];
  }
  put32(into + CAPABILITIES, screen->base >> 32 ? BASE_IS_WIDE : 0);
  put32(into + BASE_HIGH, (uint32_t)(screen->base >> 32));
}

void fill_screen_info(uint8_t *into, const struct screen *screen) {
  if (screen->kind == SCREEN_TEXT) fill_text(into, screen);
  else if (screen->kind == SCREEN_PIXELS) fill_pixels(into, screen);
}
