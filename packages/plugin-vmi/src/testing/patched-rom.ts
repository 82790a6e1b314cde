import { native } from '../rom/images.ts';

/** The built-in ROM `native`, as bytes. */
export function nativeRom(): Uint8Array {
  return Uint8Array.from(atob(native), (character) => character.charCodeAt(0));
}

/** That ROM with bytes of its own at some offsets, and a checksum that is right again unless one is given. */
export function patchedRom(changes: Readonly<Record<number, readonly number[]>>, checksum?: number): Uint8Array {
  const rom = nativeRom();
  for (const [offset, bytes] of Object.entries(changes)) rom.set(bytes, Number(offset));
  const last = rom.length - 1;
  rom[last] = 0;
  rom[last] = checksum ?? 256 - (rom.reduce((sum, byte) => (sum + byte) & 0xff, 0) || 256);
  return rom;
}

/** Offsets of fields that tests change (Linux 2.6.32, arch/x86/include/asm/vmi.h, struct vrom_header). */
export const Offset = {
  LENGTH: 2,
  SIGNATURE: 8,
  API_MAJOR: 13,
  LICENCE: 22,
  PCI: 24,
  PNP: 26,
  LICENCE_TEXT: 0x90,
} as const;
