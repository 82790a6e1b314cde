import type { GuestMemory } from '@polyvisor/plugin-api';
import { LOW_MEMORY_END, Port } from '../platform/layout.ts';

/** The BIOS data area, by guest-physical address (IBM PC/AT Technical Reference, "BIOS data areas"). */
export const DataArea = {
  com1: 0x400,
  extendedSegment: 0x40e,
  equipment: 0x410,
  memoryKib: 0x413,
  keyboardHead: 0x41a,
  keyboardTail: 0x41c,
  keyboardBuffer: 0x41e,
  videoMode: 0x449,
  columns: 0x44a,
  pageBytes: 0x44c,
  cursorPosition: 0x450,
  cursorShape: 0x460,
  videoPort: 0x463,
  ticks: 0x46c,
  midnightPassed: 0x470,
  diskStatus: 0x474,
  diskCount: 0x475,
  keyboardBufferStart: 0x480,
  keyboardBufferEnd: 0x482,
  lastRow: 0x484,
  characterHeight: 0x485,
} as const;

/** Addresses in the keyboard's words of the data area count from this one. */
export const DATA_AREA_BASE = 0x400;
const KEYBOARD_BUFFER_BYTES = 32;
/** One serial port, an 80 × 25 display, a coprocessor; no floppy disks. */
const EQUIPMENT = 0x0222;
export const TEXT_MODE = 3;
export const COLUMNS = 80;
export const ROWS = 25;
const PAGE_BYTES = 4096;
const CURSOR_SHAPE = 0x0607;
const CRT_CONTROLLER = 0x3d4;
const CHARACTER_HEIGHT = 16;

export function writeDataArea(memory: GuestMemory): void {
  memory.fill(DATA_AREA_BASE, 256, 0);
  memory.write16(DataArea.com1, Port.uart);
  memory.write16(DataArea.extendedSegment, LOW_MEMORY_END >> 4);
  memory.write16(DataArea.equipment, EQUIPMENT);
  memory.write16(DataArea.memoryKib, LOW_MEMORY_END >> 10);
  const buffer = DataArea.keyboardBuffer - DATA_AREA_BASE;
  memory.write16(DataArea.keyboardHead, buffer);
  memory.write16(DataArea.keyboardTail, buffer);
  memory.write16(DataArea.keyboardBufferStart, buffer);
  memory.write16(DataArea.keyboardBufferEnd, buffer + KEYBOARD_BUFFER_BYTES);
  memory.write8(DataArea.videoMode, TEXT_MODE);
  memory.write16(DataArea.columns, COLUMNS);
  memory.write16(DataArea.pageBytes, PAGE_BYTES);
  memory.write16(DataArea.cursorShape, CURSOR_SHAPE);
  memory.write16(DataArea.videoPort, CRT_CONTROLLER);
  memory.write8(DataArea.lastRow, ROWS - 1);
  memory.write8(DataArea.characterHeight, CHARACTER_HEIGHT);
  // The extended area begins with its size in KiB.
  memory.write8(LOW_MEMORY_END, 1);
}
