import { type BootRequest, Gpr } from '@polyvisor/plugin-api';
import { enterFlatLongMode } from './flat-long-mode.ts';
import { enterFlatProtectedMode } from './flat-protected-mode.ts';
import { type BootSurroundings, writeBareZeroPage } from './linux.ts';
import { elfPieces, place } from './placement.ts';

/**
 * An unpacked kernel at its ELF entry point, as Linux's own decompressor enters it: 64-bit images in 64-bit mode with
 * memory mapped to itself, 32-bit ones in protected mode without paging; zero page in RSI or ESI (Linux,
 * Documentation/arch/x86/boot.rst; the contract of `startup_64` and `startup_32`).
 * @throws PolyvisorError PV2001, PV2013, PV2014
 */
export function bootElf(request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu, memoryMap } = surroundings;
  const { elf } = request.image;
  if (!elf) return;
  if (elf.class === 64) enterFlatLongMode(memory, vcpu);
  else enterFlatProtectedMode(memory, vcpu);
  const taken = place(elfPieces(elf), memory, memoryMap);
  const end = Math.max(...taken.map((range) => range.end));
  vcpu.gpr[Gpr.RSI] = BigInt(writeBareZeroPage(request, end, surroundings));
  vcpu.rip = request.entry.address;
}
