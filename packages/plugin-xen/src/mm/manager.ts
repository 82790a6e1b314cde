import type { GuestMemory } from '@polyvisor/plugin-api';
import type { PvModel } from '../abi/model.ts';
import type { HypervisorFrames, MemoryManager, XenVcpu } from '../domain.ts';
import { PAGE_BYTES } from '../layout.ts';
import { type FrameTable, FrameType, Owner } from './frames.ts';
import { HypervisorHole } from './hole.ts';
import { OK, PageTables, type ValidateDescriptors } from './pageTables.ts';

/** Memory management of one PV domain: frames, page types, the hypervisor's hole, TLB and root bookkeeping. */
export class PvMemory implements MemoryManager, HypervisorFrames {
  readonly memory: GuestMemory;
  readonly frames: FrameTable;
  readonly tables: PageTables;
  readonly hole: HypervisorHole;
  readonly model: PvModel;
  readonly #vcpus: readonly XenVcpu[];

  constructor(
    memory: GuestMemory,
    frames: FrameTable,
    vcpus: readonly XenVcpu[],
    validateDescriptors: ValidateDescriptors,
    model: PvModel,
  ) {
    this.model = model;
    this.memory = memory;
    this.frames = frames;
    this.#vcpus = vcpus;
    this.hole = new HypervisorHole(memory, frames, vcpus.length, model);
    this.tables = new PageTables(memory, frames, model, {
      validateDescriptors,
      installHole: (mfn) => (model.levels === 4 ? this.hole.install(mfn) : this.hole.installPae(mfn)),
      flushStale: (endedAt) => this.flushStale(endedAt),
    });
  }

  // Frames of the hypervisor's own.

  allocate(): number | undefined {
    const mfn = this.frames.take(Owner.HYPERVISOR);
    if (mfn !== undefined) this.memory.fill(mfn * PAGE_BYTES, PAGE_BYTES, 0);
    return mfn;
  }

  free(mfn: number): void {
    this.hole.setM2p(mfn, -1, -1);
    this.frames.release(mfn);
  }

  get freeCount(): number {
    return this.frames.freeCount;
  }

  // What other rooms may ask.

  isGuestFrame(mfn: number): boolean {
    return Number.isInteger(mfn) && this.frames.isGuest(mfn);
  }

  takeWritable(mfn: number): boolean {
    return Number.isInteger(mfn) && this.tables.getPageAndType(mfn, FrameType.WRITABLE) === OK;
  }

  releaseWritable(mfn: number): void {
    this.tables.putPageAndType(mfn);
  }

  share(mfn: number, access: 'read-write' | 'read-only'): void {
    this.frames.owner[mfn] = access === 'read-write' ? Owner.SHARED_RW : Owner.SHARED_RO;
    // SHARED_M2P_ENTRY: a frame of Xen's, not part of the guest's pseudo-physical memory.
    this.hole.setM2p(mfn, -2, -1);
  }

  takeBack(mfn: number): boolean {
    // One reference is the allocation's own.
    if (this.frames.refs[mfn] > 1) return false;
    this.frames.owner[mfn] = Owner.HYPERVISOR;
    this.hole.setM2p(mfn, -1, -1);
    return true;
  }

  pfnOf(mfn: number): number | undefined {
    if (!Number.isInteger(mfn) || mfn < 0 || mfn >= this.frames.count) return undefined;
    const { lo, hi } = this.hole.m2p(mfn);
    return hi === 0 ? lo >>> 0 : undefined;
  }

  // TLB and roots.

  /** Full flush of one vCPU. */
  flush(vcpu: XenVcpu): void {
    vcpu.cpu.flushTlb();
    this.#noteFlush(vcpu);
  }

  flushAll(): void {
    for (const vcpu of this.#vcpus) this.flush(vcpu);
  }

  flushPage(gva: bigint): void {
    for (const vcpu of this.#vcpus) vcpu.cpu.flushTlb(gva);
  }

  /** Flush the vCPUs that have not flushed since a frame's last writable mapping went away. */
  flushStale(endedAt: number): void {
    for (const vcpu of this.#vcpus) if (vcpu.flushedAt <= endedAt) this.flush(vcpu);
  }

  #noteFlush(vcpu: XenVcpu): void {
    vcpu.flushedAt = ++this.tables.flushClock;
  }

  /** What CR3 holds in the vCPU's current mode. */
  rootOf(vcpu: XenVcpu): bigint {
    if (this.model.levels === 3) return rootAddress(this.hole.paeRoot(vcpu.id, vcpu.kernelRootMfn));
    return rootAddress(vcpu.kernelMode ? vcpu.kernelRootMfn : vcpu.userRootMfn);
  }

  /** Load the root of the vCPU's current mode with the flush that a new root needs; the other root flushes when it comes. */
  loadRoot(vcpu: XenVcpu): void {
    vcpu.cpu.cr3 = this.rootOf(vcpu);
    vcpu.userRootStale = vcpu.kernelMode;
    this.#noteFlush(vcpu);
  }
}

/** The two roots asked for last: a vCPU goes back and forth between two, at every system call. */
let recent = { mfn: 0, address: 0n };
let previous = recent;

export function rootAddress(mfn: number): bigint {
  if (mfn !== recent.mfn) {
    const found = mfn === previous.mfn ? previous : { mfn, address: BigInt(mfn) << 12n };
    previous = recent;
    recent = found;
  }
  return recent.address;
}
