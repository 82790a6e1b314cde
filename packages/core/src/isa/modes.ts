/**
 * How code bytes are read and how memory is addressed, as far as it is known when code is decoded. `long64` is 64-bit
 * mode. All others are 16- or 32-bit code by CS.D: real-address, virtual-8086, protected and compatibility mode.
 * `flat32`: CS, SS, DS and ES begin at 0, end at 4 GiB and can be read and written, SS.B is 1; nothing needs a check
 * but FS, GS and CS as data. The others check every access; `…ss16` and `…ss32` name an SS.B that differs from CS.D.
 */
export type CpuMode = 'long64' | 'flat32' | 'seg32' | 'seg32ss16' | 'seg16' | 'seg16ss32';

/** In the order of their numbers. */
export const MODES = ['long64', 'flat32', 'seg32', 'seg32ss16', 'seg16', 'seg16ss32'] as const;

interface ModeFacts {
  readonly number: number;
  /** Default width of operands and addresses (64-bit mode: of addresses). */
  readonly codeBits: 16 | 32 | 64;
  readonly stackBits: 16 | 32 | 64;
}
// biome-ignore format: a table
const FACTS: Readonly<Record<CpuMode, ModeFacts>> = {
  long64:    { number: 0, codeBits: 64, stackBits: 64 },
  flat32:    { number: 1, codeBits: 32, stackBits: 32 },
  seg32:     { number: 2, codeBits: 32, stackBits: 32 },
  seg32ss16: { number: 3, codeBits: 32, stackBits: 16 },
  seg16:     { number: 4, codeBits: 16, stackBits: 16 },
  seg16ss32: { number: 5, codeBits: 16, stackBits: 32 },
};
export const modeFacts = (mode: CpuMode): ModeFacts => FACTS[mode];
/** Segment limits and rights have to be checked. */
export const isSegmented = (mode: CpuMode): boolean => mode !== 'long64' && mode !== 'flat32';
