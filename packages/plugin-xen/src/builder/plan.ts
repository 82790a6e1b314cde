import { type ElfImage, PolyvisorError } from '@polyvisor/plugin-api';
import type { PvModel } from '../abi/model.ts';
import { HYPERVISOR_VIRT_END } from '../access.ts';
import { PAGE_BYTES } from '../layout.ts';
import type { ImageNotes } from '../notes/types.ts';
import { PageTablePlan } from './pageTablePlan.ts';
import { symbolsBehindKernel } from './symbols.ts';

const PT_LOAD = 1;
const SUPERPAGE_MASK = 0x3f_ffffn;
/** At least 512 kB after the last bootstrap element (public/xen.h, start of day, item 7). */
const PADDING_PAGES = (512 * 1024) / PAGE_BYTES;
const PAGE_MASK = 0xfffn;

/** Where everything stands at start of day. Frames are pseudo-physical; the address of pfn n is `virtBase + n * 4096`. */
export interface StartOfDay {
  readonly virtBase: bigint;
  readonly entry: bigint;
  /** Add to an ELF physical address to get the pseudo-physical one (may wrap). */
  readonly pseudoPhysicalOffset: bigint;
  readonly kernelEndPfn: number;
  /** The kernel's symbols, and where they stand behind it, in bytes from the first frame. */
  readonly symbols: { readonly at: number; readonly bytes: Uint8Array } | undefined;
  readonly initrdPfn: number | undefined;
  /** The initrd is passed by frame number and not mapped. */
  readonly initrdUnmapped: boolean;
  readonly p2mPfn: number;
  readonly p2mPages: number;
  readonly p2mAddress: bigint;
  /** Frames of the relocated p2m and its own page tables; 0 when it is part of the initial mapping. */
  readonly p2mFrames: number;
  readonly startInfoPfn: number;
  readonly storePfn: number;
  readonly consolePfn: number;
  readonly pageTablesPfn: number;
  readonly pageTablesCount: number;
  readonly stackPfn: number;
  /** One past the initial mapping. */
  readonly mappedEndPfn: number;
  readonly tables: PageTablePlan;
}

export interface PlanRequest {
  readonly elf: ElfImage;
  readonly notes: ImageNotes;
  readonly model: PvModel;
  readonly totalPages: number;
  readonly initrdBytes: number | undefined;
}

const BROKEN = 'the image is broken; give another one';
/** What `vm` exits with when an image cannot be started (docs/cli.md). */
export const IMAGE_EXIT_CODE = 3;

function refuse(code: string, message: string, fix: string): never {
  throw new PolyvisorError(code, message, fix, IMAGE_EXIT_CODE);
}

interface KernelRange {
  readonly virtBase: bigint;
  readonly offset: bigint;
  readonly start: bigint;
  readonly end: bigint;
  readonly entry: bigint;
}

/** The kernel's virtual extent, with libelf's sanity checks (ELF addresses are physical, moved by VIRT_BASE − PADDR_OFFSET). */
function kernelRange(elf: ElfImage, notes: ImageNotes): KernelRange {
  const segments = elf.programHeaders.filter((header) => header.type === PT_LOAD && header.memorySizeBytes > 0);
  if (segments.length === 0) refuse('PV4002', 'the image has no loadable segment', 'give a kernel image');
  if (notes.paddrOffset !== undefined && notes.virtBase === undefined) {
    refuse('PV4003', 'the notes have PADDR_OFFSET but no VIRT_BASE', BROKEN);
  }
  const virtBase = notes.virtBase ?? 0n;
  const paddrOffset = notes.paddrOffset ?? (notes.legacy ? virtBase : 0n);
  const toVirtual = BigInt.asUintN(64, virtBase - paddrOffset);
  let first = segments[0].paddr;
  let last = 0n;
  for (const segment of segments) {
    const end = segment.paddr + BigInt(segment.memorySizeBytes);
    if (segment.paddr < first) first = segment.paddr;
    if (end > last) last = end;
  }
  const start = BigInt.asUintN(64, first + toVirtual);
  const end = BigInt.asUintN(64, last + toVirtual);
  const entry = notes.entry ?? elf.entry;
  if ((virtBase & PAGE_MASK) !== 0n || start > end || start < virtBase || entry < start || entry > end) {
    refuse(
      'PV4004',
      `segments (0x${start.toString(16)}–0x${end.toString(16)}), VIRT_BASE 0x${virtBase.toString(16)} and entry 0x${entry.toString(16)} do not agree`,
      BROKEN,
    );
  }
  return { virtBase, offset: BigInt.asUintN(64, -paddrOffset), start, end, entry };
}

/** Lay out the initial virtual region in the order of public/xen.h: a kernel, b initrd, c p2m, d–f pages, g tables, h stack. */
export function planStartOfDay(request: PlanRequest): StartOfDay {
  const { elf, notes, model, totalPages } = request;
  const kernel = kernelRange(elf, notes);
  const p2mPages = Math.ceil((totalPages * model.wordBytes) / PAGE_BYTES);
  const p2mBase = relocatedP2m(request, kernel, p2mPages);
  const initrdPages = request.initrdBytes === undefined ? 0 : Math.ceil(request.initrdBytes / PAGE_BYTES);
  const initrdUnmapped = notes.modStartPfn === true && request.initrdBytes !== undefined;
  const kernelBytes = Number(kernel.end - kernel.virtBase);
  const symbols = notes.bsdSymtab === true ? symbolsBehindKernel(elf) : undefined;
  const symbolsAt = Math.ceil(kernelBytes / model.wordBytes) * model.wordBytes;
  const kernelEndPfn = Math.ceil((symbols ? symbolsAt + symbols.length : kernelBytes) / PAGE_BYTES);

  let next = kernelEndPfn;
  const take = (pages: number): number => {
    const pfn = next;
    next += pages;
    return pfn;
  };
  const mappedInitrd = request.initrdBytes !== undefined && !initrdUnmapped ? take(initrdPages) : undefined;
  const mappedP2m = p2mBase === undefined ? take(p2mPages) : undefined;
  const startInfoPfn = take(1);
  const storePfn = take(1);
  const consolePfn = take(1);
  // Refused before the tables are counted: a segment may claim exabytes.
  checkFits(next + PADDING_PAGES, totalPages, initrdPages);

  const tables = new PageTablePlan(model.levels);
  const mappedEnd = mappedRegionEnd(kernel.virtBase, next, tables);
  if (!isGuestRange(model, kernel.virtBase, mappedEnd)) {
    refuse('PV4004', `VIRT_BASE 0x${kernel.virtBase.toString(16)} leaves no room for the start-of-day region`, BROKEN);
  }
  const pageTablesCount = tables.place(kernel.virtBase, mappedEnd, next);
  const pageTablesPfn = take(pageTablesCount);
  const stackPfn = take(1);
  const mappedEndPfn = pageCount(mappedEnd - kernel.virtBase);
  next = mappedEndPfn;
  const initrdPfn = initrdUnmapped ? take(initrdPages) : mappedInitrd;
  const p2mPfn = mappedP2m ?? take(p2mPages);
  let p2mFrames = 0;
  if (p2mBase !== undefined) {
    p2mFrames = p2mPages + tables.place(p2mBase, p2mBase + BigInt(p2mPages * PAGE_BYTES), next);
    next = p2mPfn + p2mFrames;
  }
  checkFits(next, totalPages, initrdPages);
  return {
    virtBase: kernel.virtBase,
    entry: kernel.entry,
    pseudoPhysicalOffset: kernel.offset,
    kernelEndPfn,
    symbols: symbols && { at: symbolsAt, bytes: symbols },
    initrdPfn,
    initrdUnmapped,
    p2mPfn,
    p2mPages,
    p2mAddress: p2mBase ?? kernel.virtBase + BigInt(p2mPfn * PAGE_BYTES),
    p2mFrames,
    startInfoPfn,
    storePfn,
    consolePfn,
    pageTablesPfn,
    pageTablesCount,
    stackPfn,
    mappedEndPfn,
    tables,
  };
}

/** `start`–`end` lies in one canonical half and outside the hypervisor's hole. */
function isGuestRange(model: PvModel, start: bigint, end: bigint): boolean {
  if (model.wordBytes === 4) return end <= model.hypervisorStart;
  return end <= 0x8000_0000_0000n || (start >= HYPERVISOR_VIRT_END && end <= 0x1_0000_0000_0000_0000n);
}

/** INIT_P2M counts only below VIRT_BASE and page-aligned, as in Xen's domain builder. */
function relocatedP2m({ notes, model }: PlanRequest, kernel: KernelRange, pages: number): bigint | undefined {
  const base = notes.initP2m;
  if (base === undefined || base >= kernel.virtBase || (base & PAGE_MASK) !== 0n) return undefined;
  const end = base + BigInt(pages * PAGE_BYTES);
  if (!isGuestRange(model, base, end) || end > kernel.virtBase) {
    refuse('PV4005', `INIT_P2M 0x${base.toString(16)} is not a usable address`, BROKEN);
  }
  return base;
}

/** End of the mapped region: on a 4 MB boundary, with room for the tables, the stack and the padding. */
function mappedRegionEnd(virtBase: bigint, usedPages: number, tables: PageTablePlan): bigint {
  const used = virtBase + BigInt(usedPages * PAGE_BYTES);
  let extra = 1 + PADDING_PAGES;
  for (;;) {
    const end = (used + BigInt(extra * PAGE_BYTES)) | SUPERPAGE_MASK;
    const needed = tables.count(virtBase, end + 1n) + 1 + PADDING_PAGES;
    if (used + BigInt(needed * PAGE_BYTES) <= end + 1n) return end + 1n;
    extra = needed;
  }
}

function pageCount(bytes: bigint): number {
  return Number((bytes + PAGE_MASK) >> 12n);
}

function checkFits(pages: number, totalPages: number, initrdPages: number): void {
  if (pages <= totalPages) return;
  const needMiB = Math.ceil((pages * PAGE_BYTES) / (1 << 20));
  const haveMiB = Math.floor((totalPages * PAGE_BYTES) / (1 << 20));
  const what = initrdPages > 0 ? 'kernel, initrd and start-of-day tables' : 'kernel and start-of-day tables';
  refuse(
    'PV4006',
    `${what} need ${needMiB} MiB, the guest has ${haveMiB} MiB`,
    `use --memory ${needMiB + 16}M or more`,
  );
}
