/** Where a case's code, data and stack lie: the same addresses natively and in every tier of the engine. */
import { Random } from './random.ts';

export const CODE_BASE = 0x2000_0000;
/** Code starts here unless a case says otherwise; the rest of the code pages is INT3. */
export const CODE_START = CODE_BASE + 0x800;
/** Code that may be written: for programs that change themselves. */
export const WRITABLE_CODE_BASE = 0x2100_0000;
export const DATA_BASE = 0x3000_0000;
export const DATA_SIZE_BYTES = 0x2000;
/** 64 bytes of data that differ from case to case; what memory operands mostly point at. */
export const WINDOW = DATA_BASE + 0x800;
export const WINDOW_SIZE_BYTES = 64;
export const READ_ONLY_BASE = 0x3001_0000;
export const STACK_BASE = 0x4000_0000;
export const STACK_START = STACK_BASE + 0x1000;
export const FS_BASE = DATA_BASE + 0x400;
export const GS_BASE = DATA_BASE + 0xc00;
export const PAGE_SIZE_BYTES = 0x1000;
export const INT3 = 0xcc;

export const Rights = { read: 1, write: 2, execute: 4 } as const;

export interface Region {
  readonly address: number;
  /** Rights as a sum of {@link Rights}. What lies between regions is not mapped. */
  readonly rights: number;
  /** Content before any case's patches. Never modified in place. */
  readonly bytes: Uint8Array;
}

function background(sizeBytes: number, seed: number): Uint8Array {
  const random = new Random(seed);
  const words = Uint32Array.from({ length: sizeBytes / 4 }, () => random.next());
  return new Uint8Array(words.buffer);
}

export const REGIONS: readonly Region[] = [
  { address: CODE_BASE, rights: Rights.read | Rights.execute, bytes: new Uint8Array(0x2000).fill(INT3) },
  {
    address: WRITABLE_CODE_BASE,
    rights: Rights.read | Rights.write | Rights.execute,
    bytes: new Uint8Array(0x2000).fill(INT3),
  },
  { address: DATA_BASE, rights: Rights.read | Rights.write, bytes: background(DATA_SIZE_BYTES, 0x0da7a) },
  { address: READ_ONLY_BASE, rights: Rights.read, bytes: background(0x1000, 0x0f0ad) },
  { address: STACK_BASE, rights: Rights.read | Rights.write, bytes: background(0x2000, 0x57ac7) },
];
