/**
 * Grants of the guest's to itself, mapped by itself: GNTTABOP_map_grant_ref, unmap_grant_ref and unmap_and_replace of a PV guest
 * (public/grant_table.h; what is checked: xen/common/grant_table.c, xen/arch/x86/pv/grant_table.c). An entry of a page table has
 * its own references, as any other, so that what the guest does to it in between changes no count of a handle's.
 */
import type { L1Entries, XenVcpu } from '../domain.ts';
import { Domid } from '../hypercall/domid.ts';
import { entryFrame, PTE_ACCESSED, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE } from '../mm/entries.ts';
import type { GrantTable } from './grantTable.ts';
import { GrantStatus } from './status.ts';

/** GNTMAP_* (public/grant_table.h). */
const MapFlag = { DEVICE: 1, HOST: 2, READONLY: 4, APPLICATION: 8, CONTAINS_PTE: 16 } as const;
/** GNTMAP_guest_avail0 and 1: bits of the entry that software may use, from bit 9 on. */
const AVAILABLE_SHIFT = 16;
const AVAILABLE = 3 << AVAILABLE_SHIFT;
const PTE_AVAILABLE_SHIFT = 9;
const PAGE_BYTES = 4096;
/** A guest that maps without end harms itself. */
const MOST_HANDLES = 65_536;
const WHOLE_PAGE = { offset: 0, sizeBytes: PAGE_BYTES } as const;

export interface MapRequest {
  readonly hostAddress: bigint;
  readonly flags: number;
  readonly ref: number;
}
export interface UnmapRequest {
  readonly hostAddress: bigint;
  /** Of {@link unmap}: 0 leaves the device mapping. */
  readonly busAddress: bigint;
  readonly handle: number;
  /** Of unmap_and_replace: where the entry is that takes the mapping's place; 0: none. */
  readonly newAddress: bigint;
}

interface Mapped {
  readonly ref: number;
  readonly mfn: number;
  /** Of DEVICE and HOST what is still mapped. */
  flags: number;
}

export class OwnMaps {
  readonly #table: GrantTable;
  readonly #entries: L1Entries;
  readonly #mapped = new Map<number, Mapped>();
  #nextHandle = 0;

  constructor(table: GrantTable, entries: L1Entries) {
    this.#table = table;
    this.#entries = entries;
  }

  /** Answers a GNTST_*, or the handle and the frame. Flags without DEVICE and HOST are the caller's to refuse. */
  map(vcpu: XenVcpu, { hostAddress, flags, ref }: MapRequest): number | { handle: number; mfn: number } {
    if (this.#mapped.size >= MOST_HANDLES) return GrantStatus.NO_DEVICE_SPACE;
    if (ref >= this.#table.entryCount) return GrantStatus.BAD_GNTREF;
    const write = (flags & MapFlag.READONLY) === 0;
    const mfn = this.#table.permitted(ref, Domid.GUEST, { ...WHOLE_PAGE, write });
    if (mfn === undefined || !this.#entries.hold(mfn, false)) return GrantStatus.GENERAL_ERROR;
    // Held while it is looked at; what stays held is the device mapping's.
    const isMapped = this.#take(vcpu, mfn, hostAddress, flags);
    this.#entries.release(mfn, false);
    if (!isMapped) return GrantStatus.GENERAL_ERROR;
    const handle = this.#freeHandle();
    this.#mapped.set(handle, { ref, mfn, flags });
    this.#table.hold(ref, write);
    return { handle, mfn };
  }
  #take(vcpu: XenVcpu, mfn: number, hostAddress: bigint, flags: number): boolean {
    const write = (flags & MapFlag.READONLY) === 0;
    if ((flags & MapFlag.DEVICE) !== 0 && !this.#entries.hold(mfn, write)) return false;
    if ((flags & MapFlag.HOST) === 0) return true;
    const entry = this.#find(vcpu, hostAddress, flags);
    if (entry !== undefined && this.#entries.replace(entry, (mfn << 12) | entryFlags(flags), mfn >>> 20)) return true;
    if ((flags & MapFlag.DEVICE) !== 0) this.#entries.release(mfn, write);
    return false;
  }

  unmap(vcpu: XenVcpu, { hostAddress, busAddress, handle }: UnmapRequest): number {
    const mapped = this.#mapped.get(handle);
    if (mapped === undefined) return GrantStatus.BAD_HANDLE;
    const { mfn, flags } = mapped;
    const ofDevice = busAddress !== 0n && (flags & MapFlag.DEVICE) !== 0;
    if (ofDevice && busAddress !== BigInt(mfn) * BigInt(PAGE_BYTES)) return GrantStatus.GENERAL_ERROR;
    if (hostAddress !== 0n && (flags & MapFlag.HOST) !== 0) {
      const entry = this.#entryOf(vcpu, hostAddress, mapped);
      if (entry === undefined || !this.#entries.replace(entry, 0, 0)) return GrantStatus.GENERAL_ERROR;
      mapped.flags &= ~MapFlag.HOST;
    }
    if (ofDevice) {
      this.#entries.release(mfn, (flags & MapFlag.READONLY) === 0);
      mapped.flags &= ~MapFlag.DEVICE;
    }
    this.#endUnlessMapped(handle, mapped);
    return GrantStatus.OKAY;
  }

  /** The entry of `newAddress` takes the place of the mapping's, and is gone where it was. */
  unmapAndReplace(vcpu: XenVcpu, request: UnmapRequest): number {
    const { hostAddress, newAddress, handle } = request;
    if (newAddress === 0n) return this.unmap(vcpu, { ...request, busAddress: 0n });
    const mapped = this.#mapped.get(handle);
    if (mapped === undefined) return GrantStatus.BAD_HANDLE;
    if (hostAddress === 0n || (mapped.flags & MapFlag.HOST) === 0) return GrantStatus.OKAY;
    if ((mapped.flags & MapFlag.CONTAINS_PTE) !== 0) return GrantStatus.GENERAL_ERROR;
    const from = this.#entries.find(vcpu, newAddress, 'gva');
    const to = this.#entryOf(vcpu, hostAddress, mapped);
    if (from === undefined || to === undefined || from === to) return GrantStatus.GENERAL_ERROR;
    this.#entries.move(from, to);
    mapped.flags &= ~MapFlag.HOST;
    this.#endUnlessMapped(handle, mapped);
    return GrantStatus.OKAY;
  }

  #find(vcpu: XenVcpu, address: bigint, flags: number): number | undefined {
    return this.#entries.find(vcpu, address, (flags & MapFlag.CONTAINS_PTE) === 0 ? 'gva' : 'machineAddress');
  }

  /** The entry at an address, if it still is what the mapping has made of it (XSA-234: with its rights). */
  #entryOf(vcpu: XenVcpu, address: bigint, { mfn, flags }: Mapped): number | undefined {
    const entry = this.#find(vcpu, address, flags);
    if (entry === undefined) return undefined;
    const { lo, hi } = this.#entries.read(entry);
    const hasRights = ((lo ^ entryFlags(flags)) & (PTE_PRESENT | PTE_WRITE)) === 0;
    return hasRights && entryFrame(lo, hi) === mfn ? entry : undefined;
  }

  #endUnlessMapped(handle: number, { ref, flags }: Mapped): void {
    if ((flags & (MapFlag.DEVICE | MapFlag.HOST)) !== 0) return;
    this.#mapped.delete(handle);
    this.#table.drop(ref, (flags & MapFlag.READONLY) === 0);
  }

  #freeHandle(): number {
    while (this.#mapped.has(this.#nextHandle)) this.#nextHandle = (this.#nextHandle + 1) % MOST_HANDLES;
    const handle = this.#nextHandle;
    this.#nextHandle = (handle + 1) % MOST_HANDLES;
    return handle;
  }
}

function entryFlags(flags: number): number {
  const rights =
    ((flags & MapFlag.READONLY) === 0 ? PTE_WRITE : 0) | ((flags & MapFlag.APPLICATION) === 0 ? 0 : PTE_USER);
  const available = ((flags & AVAILABLE) >>> AVAILABLE_SHIFT) << PTE_AVAILABLE_SHIFT;
  return PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | rights | available;
}
