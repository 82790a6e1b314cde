/** CoreMark, which Debian does not carry: an executable that the user has built. */
import { readFileSync } from 'node:fs';
import { parseElf } from '@polyvisor/core';

const EM_X86_64 = 62;
const PT_LOAD = 1;
const PT_INTERP = 3;

/** The file of `--coremark`, if an x86-64 processor can run it without libraries beside it (gABI 4.1, chapters 4 and 5). */
export function checkedCoremark(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  const segments = segmentsOf(readBytes(file));
  if (!segments.has(PT_LOAD)) throw new Error(`--coremark ${file} is not an ELF executable for x86-64`);
  if (segments.has(PT_INTERP)) throw new Error(`--coremark ${file} needs libraries: link it with -static`);
  return file;
}

function readBytes(file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (error) {
    throw new Error(`--coremark ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Types of the segments; of what is no ELF file for x86-64, none. */
function segmentsOf(bytes: Uint8Array): ReadonlySet<number> {
  try {
    const elf = parseElf(bytes);
    if (elf.class === 64 && elf.machine === EM_X86_64) return new Set(elf.programHeaders.map(({ type }) => type));
  } catch {
    // Damaged, or no ELF at all.
  }
  return new Set();
}
