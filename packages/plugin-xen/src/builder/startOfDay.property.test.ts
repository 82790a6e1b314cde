/** Start of day for kernels, initrds and memories of any size (public/xen.h, "start of day"). */
import { Gpr } from '@polyvisor/plugin-api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NoteType } from '../notes/elfNotes.ts';
import { type Booted, boot, KERNEL_PADDR, numberNote, PLAIN_NOTES, VIRT_BASE } from '../testing/guest.ts';
import { walk } from '../testing/walk.ts';

const PAGE = 4096n;
const MIB = 1 << 20;
const SUPERPAGE = 4n << 20n;
const PADDING = 512n << 10n;
const INIT_P2M = 0x80_0000_0000n;

const request = fc.record({
  kernelBytes: fc.integer({ min: 0x3000, max: 3 * MIB }),
  initrdBytes: fc.option(fc.integer({ min: 1, max: 3 * MIB }), { nil: undefined }),
  memoryPages: fc.integer({ min: (16 * MIB) / 4096, max: (24 * MIB) / 4096 }),
  unmappedInitrd: fc.boolean(),
  relocatedP2m: fc.boolean(),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

function bootOf({ kernelBytes, initrdBytes, memoryPages, unmappedInitrd, relocatedP2m }: Request): Booted {
  const notes = [
    ...PLAIN_NOTES,
    ...(unmappedInitrd ? [numberNote(NoteType.MOD_START_PFN, 1n)] : []),
    ...(relocatedP2m ? [numberNote(NoteType.INIT_P2M, INIT_P2M)] : []),
  ];
  const initrd = initrdBytes === undefined ? undefined : new Uint8Array(initrdBytes).fill(0xa5);
  const memoryBytes = memoryPages * 4096;
  return boot({ notes, memoryBytes, initrd, programHeaders: [{ memorySizeBytes: kernelBytes }] });
}

const pages = (bytes: bigint) => ((bytes + PAGE - 1n) / PAGE) * PAGE;

function at(guest: Booted, gva: bigint): number {
  const gpa = walk(guest.memory, guest.cpu.cr3, gva, 'read', true);
  if (typeof gpa !== 'number') throw new Error(`0x${gva.toString(16)} is not mapped`);
  return gpa;
}

/** Where each element must begin, by the order of the header: kernel, initrd, p2m, start_info, store, console, tables. */
function expectedOrder(guest: Booted, wanted: Request, info: number) {
  const word = (offset: number) => guest.memory.read64(info + offset);
  let next = pages(VIRT_BASE + KERNEL_PADDR + BigInt(wanted.kernelBytes));
  if (wanted.initrdBytes !== undefined && !wanted.unmappedInitrd) {
    expect(word(112)).toBe(next);
    next += pages(BigInt(wanted.initrdBytes));
  }
  const p2m = wanted.relocatedP2m ? INIT_P2M : next;
  expect(word(104)).toBe(p2m);
  if (!wanted.relocatedP2m) next += pages(BigInt(wanted.memoryPages * 8));
  expect(guest.cpu.gpr[Gpr.RSI]).toBe(next);
  expect(Number(word(56)) * 4096).toBe(at(guest, next + PAGE));
  expect(Number(word(72)) * 4096).toBe(at(guest, next + 2n * PAGE));
  expect(word(88)).toBe(next + 3n * PAGE);
  const stack = word(88) + word(96) * PAGE;
  expect(guest.cpu.gpr[Gpr.RSP]).toBe(stack + PAGE);
  return { tables: word(88), stackEnd: stack + PAGE };
}

/** Frames of the tables that really translate, found by following the root; leaf tables hold no table. */
function tableFrames(guest: Booted, frame: number, level: number, firstGuestFrame: number): number[] {
  const found = [frame];
  for (let slot = 0; level > 1 && slot < 512; slot++) {
    const entry = guest.memory.read64(frame * 4096 + slot * 8);
    const target = Number((entry & 0x000f_ffff_ffff_f000n) >> 12n);
    const isGuests = (entry & 1n) !== 0n && target >= firstGuestFrame;
    if (isGuests) found.push(...tableFrames(guest, target, level - 1, firstGuestFrame));
  }
  return found;
}

describe('PV64 start of day, for any sizes', () => {
  it('keeps the order, ends on 4 MB with 512 kB to spare, and maps page tables and only them read-only', () => {
    fc.assert(
      fc.property(request, (wanted) => {
        const guest = bootOf(wanted);
        const info = at(guest, guest.cpu.gpr[Gpr.RSI]);
        const { stackEnd } = expectedOrder(guest, wanted, info);

        const end = ((stackEnd + PADDING + SUPERPAGE - 1n) / SUPERPAGE) * SUPERPAGE;
        expect(walk(guest.memory, guest.cpu.cr3, end - PAGE, 'read', true)).toBeTypeOf('number');
        expect(walk(guest.memory, guest.cpu.cr3, end, 'read', true)).not.toBeTypeOf('number');

        const firstGuestFrame = guest.memory.sizeBytes / 4096 - wanted.memoryPages;
        const tables = new Set(tableFrames(guest, Number(guest.cpu.cr3) / 4096, 4, firstGuestFrame));
        for (let gva = VIRT_BASE; gva < end; gva += PAGE) {
          const frame = at(guest, gva) / 4096;
          const writable = typeof walk(guest.memory, guest.cpu.cr3, gva, 'write', true) === 'number';
          if (writable === tables.has(frame)) expect.fail(`0x${gva.toString(16)} writable: ${writable}`);
        }
      }),
      { seed: 14, numRuns: 20 },
    );
  });

  it('brings the whole initrd, wherever it lies', () => {
    fc.assert(
      fc.property(request, (wanted) => {
        if (wanted.initrdBytes === undefined) return;
        const guest = bootOf(wanted);
        const info = at(guest, guest.cpu.gpr[Gpr.RSI]);
        const start = guest.memory.read64(info + 112);
        expect(Number(guest.memory.read64(info + 120))).toBe(wanted.initrdBytes);
        expect(guest.memory.read32(info + 48) & 8).toBe(wanted.unmappedInitrd ? 8 : 0);
        const firstGuestFrame = guest.memory.sizeBytes / 4096 - wanted.memoryPages;
        for (const offset of [0, wanted.initrdBytes - 1]) {
          const gpa = wanted.unmappedInitrd
            ? (firstGuestFrame + Number(start)) * 4096 + offset
            : at(guest, start + BigInt(offset));
          expect(guest.memory.read8(gpa)).toBe(0xa5);
        }
      }),
      { seed: 15, numRuns: 12 },
    );
  });
});
