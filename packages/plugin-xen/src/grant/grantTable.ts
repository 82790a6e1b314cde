import type { XenDomain } from '../domain.ts';
import { EBUSY, EINVAL, ENOMEM, ERANGE } from '../errno.ts';
import { Domid } from '../hypercall/domid.ts';

const PAGE_BYTES = 4096;
/** A toolstack's default for max_grant_frames (xl.cfg). */
export const MAX_GRANT_FRAMES = 64;
const INITIAL_GRANT_FRAMES = 1;
/** GNTTAB_NR_RESERVED_ENTRIES: filled by the toolstack, kept when the version changes. */
const RESERVED_ENTRIES = 8;
const CONSOLE_ENTRY = 0;
const XENSTORE_ENTRY = 1;

/** Sizes of an entry by version, and of a version-2 status word (public/grant_table.h). */
const ENTRY_BYTES = { 1: 8, 2: 16 } as const;
const STATUS_BYTES = 2;
/** Status pages that `grantFrames` pages of version-2 entries need. */
export function statusFramesFor(grantFrames: number): number {
  return Math.ceil((grantFrames * (PAGE_BYTES / ENTRY_BYTES[2]) * STATUS_BYTES) / PAGE_BYTES);
}

/** GTF_* (public/grant_table.h). */
export const GrantFlags = {
  TYPE_MASK: 3,
  PERMIT_ACCESS: 1,
  TRANSITIVE: 3,
  READONLY: 4,
  /** In-use bits: in the flags (version 1) or the status word (version 2). */
  IN_USE_MASK: 0x18,
  READING: 0x08,
  SUB_PAGE: 0x100,
} as const;

export type GrantVersion = 1 | 2;

/** A grant as the guest wrote it. */
export interface GrantEntry {
  readonly flags: number;
  readonly domid: number;
  readonly mfn: number;
  /** Version-2 sub-page grants: the part of the page that is granted. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** The table: frames of the hypervisor's that the guest maps, and writes as it likes. */
export class GrantTable {
  readonly #domain: XenDomain;
  readonly #frames: number[] = [];
  readonly #statusFrames: number[] = [];
  #version: GrantVersion = 1;
  /** By reference: mappings of the guest's own, to read only and to write. */
  readonly #holders = new Map<number, { readonly readers: number; readonly writers: number }>();

  constructor(domain: XenDomain) {
    this.#domain = domain;
    this.grow(INITIAL_GRANT_FRAMES);
  }

  get version(): GrantVersion {
    return this.#version;
  }
  get frames(): readonly number[] {
    return this.#frames;
  }
  get statusFrames(): readonly number[] {
    return this.#statusFrames;
  }
  get entryCount(): number {
    return (this.#frames.length * PAGE_BYTES) / ENTRY_BYTES[this.#version];
  }

  /** A frame's contents are in another one from now on. */
  frameMoved(index: number, mfn: number, isStatus: boolean): void {
    (isStatus ? this.#statusFrames : this.#frames)[index] = mfn;
  }

  /** Grants 0 and 1: the control domain's access to the start-of-day rings. */
  seedReserved(consoleMfn: number | undefined, storeMfn: number): void {
    if (consoleMfn !== undefined) {
      this.#writeEntry(CONSOLE_ENTRY, GrantFlags.PERMIT_ACCESS, Domid.CONTROL, consoleMfn);
    }
    this.#writeEntry(XENSTORE_ENTRY, GrantFlags.PERMIT_ACCESS, Domid.CONTROL, storeMfn);
  }

  /** Have at least `count` frames (and their status frames under version 2); `false`: over the limit, or no memory. */
  grow(count: number): boolean {
    if (count > MAX_GRANT_FRAMES) return false;
    const statusCount = this.#version === 2 ? statusFramesFor(count) : 0;
    return this.#extend(this.#frames, count) && this.#extend(this.#statusFrames, statusCount);
  }

  /** GNTTABOP_set_version; answers an errno. Entries beyond the reserved ones are cleared. */
  setVersion(version: number): bigint {
    if (version !== 1 && version !== 2) return EINVAL;
    if (version === this.#version) return 0n;
    if (this.#holders.size > 0) return EBUSY;
    const reserved = Array.from({ length: RESERVED_ENTRIES }, (_, ref) => this.#reservedEntry(ref));
    if (version === 1 && reserved.some((entry) => entry === undefined)) return ERANGE;
    if (version === 1 && !this.#takeBackStatusFrames()) return EBUSY;
    if (version === 2) this.#shareStatusFrames();
    if (version === 2 && !this.#extend(this.#statusFrames, statusFramesFor(this.#frames.length))) return ENOMEM;
    for (const mfn of this.#frames) this.#domain.memory.fill(mfn * PAGE_BYTES, PAGE_BYTES, 0);
    this.#version = version;
    reserved.forEach((entry, ref) => {
      if (entry !== undefined) this.#writeEntry(ref, entry.flags, entry.domid, entry.mfn);
    });
    return 0n;
  }

  /** The entry behind a reference, which may be any number; `undefined`: beyond the table. */
  entry(ref: number): GrantEntry | undefined {
    if (ref >= this.entryCount) return undefined;
    const { memory } = this.#domain;
    const gpa = this.#entryGpa(ref);
    const flags = memory.read16(gpa);
    const domid = memory.read16(gpa + 2);
    if (this.#version === 1) return { flags, domid, mfn: memory.read32(gpa + 4), offset: 0, sizeBytes: PAGE_BYTES };
    const isSubPage = (flags & GrantFlags.SUB_PAGE) !== 0;
    return {
      flags,
      domid,
      mfn: Number(memory.read64(gpa + 8)),
      offset: isSubPage ? memory.read16(gpa + 4) : 0,
      sizeBytes: isSubPage ? memory.read16(gpa + 6) : PAGE_BYTES,
    };
  }

  /** The frame that a grant opens to `domid` for this access; `undefined`: it does not. A grant of a part has no whole page. */
  permitted(
    ref: number,
    domid: number,
    { offset, sizeBytes, write }: { readonly offset: number; readonly sizeBytes: number; readonly write: boolean },
  ): number | undefined {
    const entry = this.entry(ref);
    const permits =
      entry !== undefined &&
      (entry.flags & GrantFlags.TYPE_MASK) === GrantFlags.PERMIT_ACCESS &&
      entry.domid === domid &&
      !(write && (entry.flags & GrantFlags.READONLY) !== 0) &&
      offset >= entry.offset &&
      offset + sizeBytes <= entry.offset + entry.sizeBytes;
    return permits ? entry.mfn : undefined;
  }

  /** Show the guest that a grant is held (GTF_reading, GTF_writing), or no longer. */
  markInUse(ref: number, inUse: boolean): void {
    this.#showUse(ref, inUse ? GrantFlags.IN_USE_MASK : 0);
  }
  #showUse(ref: number, bits: number): void {
    if (ref >= this.entryCount) return;
    const { memory } = this.#domain;
    const gpa = this.#version === 1 ? this.#entryGpa(ref) : this.#statusGpa(ref);
    memory.write16(gpa, (memory.read16(gpa) & ~GrantFlags.IN_USE_MASK) | bits);
  }

  /** The guest itself maps a grant: shown to it, and no other version of the table until {@link drop}. */
  hold(ref: number, write: boolean): void {
    this.#changeHolders(ref, write, 1);
  }
  drop(ref: number, write: boolean): void {
    this.#changeHolders(ref, write, -1);
  }
  #changeHolders(ref: number, write: boolean, by: 1 | -1): void {
    const { readers, writers } = this.#holders.get(ref) ?? { readers: 0, writers: 0 };
    const left = { readers: readers + (write ? 0 : by), writers: writers + (write ? by : 0) };
    if (left.readers + left.writers === 0) this.#holders.delete(ref);
    else this.#holders.set(ref, left);
    this.#showUse(ref, left.writers > 0 ? GrantFlags.IN_USE_MASK : left.readers > 0 ? GrantFlags.READING : 0);
  }

  /** A reserved entry in a form both versions have; invalid ones read as zero; `undefined`: it has no such form. */
  #reservedEntry(ref: number): GrantEntry | undefined {
    const entry = this.entry(ref);
    if (entry === undefined) return undefined;
    const type = entry.flags & GrantFlags.TYPE_MASK;
    if (type === GrantFlags.TRANSITIVE) return undefined;
    if (type !== GrantFlags.PERMIT_ACCESS) return { ...entry, flags: 0, domid: 0, mfn: 0 };
    if (!Number.isSafeInteger(entry.mfn) || entry.mfn > 0xffff_ffff) return undefined;
    return { ...entry, flags: entry.flags & ~GrantFlags.IN_USE_MASK };
  }

  #writeEntry(ref: number, flags: number, domid: number, mfn: number): void {
    const { memory } = this.#domain;
    const gpa = this.#entryGpa(ref);
    memory.write16(gpa + 2, domid);
    if (this.#version === 1) memory.write32(gpa + 4, mfn);
    else memory.write64(gpa + 8, BigInt(mfn));
    memory.write16(gpa, flags);
  }

  #entryGpa(ref: number): number {
    const offset = ref * ENTRY_BYTES[this.#version];
    return this.#frames[Math.floor(offset / PAGE_BYTES)] * PAGE_BYTES + (offset % PAGE_BYTES);
  }

  #statusGpa(ref: number): number {
    const offset = ref * STATUS_BYTES;
    return this.#statusFrames[Math.floor(offset / PAGE_BYTES)] * PAGE_BYTES + (offset % PAGE_BYTES);
  }

  #extend(frames: number[], count: number): boolean {
    while (frames.length < count) {
      const mfn = this.#domain.frames.allocate();
      if (mfn === undefined) return false;
      this.#domain.mm.share(mfn, 'read-write');
      frames.push(mfn);
    }
    return true;
  }

  /** They stay allocated for the next version 2; the guest cannot map them before. False: it has one mapped (XSA-255). */
  #takeBackStatusFrames(): boolean {
    const { memory, mm } = this.#domain;
    const mapped = this.#statusFrames.findIndex((mfn) => !mm.takeBack(mfn));
    if (mapped >= 0) {
      for (const mfn of this.#statusFrames.slice(0, mapped)) mm.share(mfn, 'read-write');
      return false;
    }
    for (const mfn of this.#statusFrames) memory.fill(mfn * PAGE_BYTES, PAGE_BYTES, 0);
    return true;
  }

  #shareStatusFrames(): void {
    for (const mfn of this.#statusFrames) this.#domain.mm.share(mfn, 'read-write');
  }
}
