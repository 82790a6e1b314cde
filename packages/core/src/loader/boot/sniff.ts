import { type BootRequest, type Segment, SegmentIndex } from '@polyvisor/plugin-api';
import { bootElf } from './elf.ts';
import type { BootSurroundings } from './linux.ts';
import { LARGE_PAGE_BYTES, virtualOffset } from './placement.ts';

const GDT_AT = 0x1000;
const PAGE_DIRECTORY_AT = 0x2000;
const PAGE_DIRECTORY_ENTRIES = 1024;
/** PS, writable, present. */
const LARGE_PAGE = 0x83;

/** Selectors and descriptors as of `flat-protected-mode.ts`, of ring 1. */
const CODE = { selector: 0x11, descriptor: 0x00cfbb000000ffffn, accessRights: 0xc0bb } as const;
const DATA = { selector: 0x19, descriptor: 0x00cfb3000000ffffn, accessRights: 0xc0b3 } as const;
/** PG, ET, PE. */
const CR0 = 0x80000011n;
const CR4_PSE = 0x10n;
/** IOPL 1: CLI, STI, IN and OUT do not fault. */
const RFLAGS = 0x1002n;

/**
 * The ELF entry point of a 32-bit kernel as a hypervisor would enter it that has no protocol of its own: in ring 1, paging
 * on, the first 4 GiB mapped to themselves and the kernel also where it is linked, zero page in ESI, no IDT. Linux's
 * startup_32 of 2.6.20 to 2.6.23 goes to its `.paravirtprobe` functions then, and they find out where they are.
 * @throws PolyvisorError PV2001, PV2013, PV2014
 */
export function bootSniff(request: BootRequest, surroundings: BootSurroundings): void {
  const { memory, vcpu } = surroundings;
  const { elf } = request.image;
  if (!elf) return;
  bootElf(request, surroundings);
  const offset = virtualOffset(elf) ?? 0;
  const firstMoved = Math.floor(Number(elf.programHeaders[0]?.vaddr ?? 0n) / LARGE_PAGE_BYTES);
  for (let index = 0; index < PAGE_DIRECTORY_ENTRIES; index++) {
    const isMoved = offset !== 0 && index >= firstMoved;
    const base = index * LARGE_PAGE_BYTES - (isMoved ? offset : 0);
    memory.write32(PAGE_DIRECTORY_AT + index * 4, (base | LARGE_PAGE) >>> 0);
  }
  for (const { selector, descriptor } of [CODE, DATA]) memory.write64(GDT_AT + (selector & ~7), descriptor);
  vcpu.cr4 = CR4_PSE;
  vcpu.cr3 = BigInt(PAGE_DIRECTORY_AT);
  vcpu.cr0 = CR0;
  vcpu.setSegment(SegmentIndex.CS, flat(CODE));
  for (const index of [SegmentIndex.DS, SegmentIndex.ES, SegmentIndex.SS, SegmentIndex.FS, SegmentIndex.GS]) {
    vcpu.setSegment(index, flat(DATA));
  }
  vcpu.cpl = 1;
  vcpu.rflags = RFLAGS;
}

const flat = ({ selector, accessRights }: { selector: number; accessRights: number }): Segment => ({
  selector,
  base: 0n,
  limit: 0xffffffff,
  accessRights,
});
