import { readFile } from 'node:fs/promises';
import { linuxLibC } from './libc.ts';

/** Where V8 wants its memory on 64-bit Linux: at addresses of 46 bits, each drawn by lot (`GetRandomMmapAddr`). */
const HINTS_END = 1n << 46n;
/** Below it other things ask for their places, and V8's lots hardly ever fall. */
const HINTS_START = 1n << 32n;

/** Another thread may have mapped something in a gap since it was found; then the gaps are looked for again. */
const ATTEMPTS = 4;

/**
 * Have V8's code lie close together, from now on: each WebAssembly module's goes to an address drawn by lot, which costs a
 * processor that goes from module to module a walk through page tables of their own. Where no such address is free the kernel
 * puts one mapping beside the other. So all of them are reserved; that takes no memory, but the size of the process's address
 * space (VIRT in top(1)) is 64 TiB then. Only speed depends on it.
 */
export async function placeCodeTogether(): Promise<void> {
  if (process.arch !== 'x64') return;
  const libc = await linuxLibC();
  if (!libc) return;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const maps = await readFile('/proc/self/maps', 'latin1').catch(() => undefined);
    if (maps === undefined) return;
    // The largest first: where the size of the address space is limited (`ulimit -v`) none is reserved, rather than what others need.
    const gaps = gapsBetween(maps).toSorted((a, b) => (b.sizeBytes > a.sizeBytes ? 1 : -1));
    if (gaps.every(({ start, sizeBytes }) => libc.reserve(start, sizeBytes))) return;
  }
}

/** Where V8's hints may fall and nothing is. */
function gapsBetween(maps: string): { start: bigint; sizeBytes: bigint }[] {
  const gaps: { start: bigint; sizeBytes: bigint }[] = [];
  let at = HINTS_START;
  for (const { start, end } of [...mappings(maps), { start: HINTS_END, end: HINTS_END }]) {
    const next = start < HINTS_END ? start : HINTS_END;
    if (next > at) gaps.push({ start: at, sizeBytes: next - at });
    if (end > at) at = end;
  }
  return gaps;
}

/** What is in the process's address space, by address (proc_pid_maps(5)). */
function* mappings(maps: string): Generator<{ start: bigint; end: bigint }> {
  for (const [, start, end] of maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) /gm))
    yield { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
}
