import { type GuestMemory, PolyvisorError } from '@polyvisor/plugin-api';
import { FIRST_PAE_XEN_SLOT, type PvModel } from '../abi/model.ts';
import type { WordBytes } from '../abi/struct.ts';
import {
  DESCRIPTOR_PAGES_PER_VCPU,
  ENTRIES_PER_TABLE,
  FIRST_RESERVED_GDT_PAGE,
  FIRST_XEN_SLOT,
  LAST_XEN_SLOT,
  M2P_SLOT,
  PAGE_BYTES,
  PER_DOMAIN_SLOT,
} from '../layout.ts';
import { PTE_ACCESSED, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE } from './entries.ts';
import { type FrameTable, frameTableBytes, Owner } from './frames.ts';

const M2P_TABLE = PTE_PRESENT | PTE_USER | PTE_ACCESSED;
const M2P_PAGE = PTE_PRESENT | PTE_USER | PTE_ACCESSED;
const OWN_TABLE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY;
const OWN_PAGE_READ_ONLY = PTE_PRESENT | PTE_ACCESSED;
/** Descriptor tables stay out of the guest's reach (no U bit); the CPU itself sets their Accessed bits. */
const OWN_PAGE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY;

/** As Xen's compatibility L4 entry: everything is allowed here, and decided below. */
const PAE_ROOT_ENTRY = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED;

/** Offsets in the GDT's last page. PV64: 32-bit code, data, 64-bit code of CPL 3; PV32: code and data of CPL 1, of CPL 3. */
const RESERVED_DESCRIPTORS: Readonly<Record<WordBytes, readonly (readonly [offset: number, descriptor: bigint])[]>> = {
  8: [
    [0x20, 0x00cf_fb00_0000_ffffn],
    [0x28, 0x00cf_f300_0000_ffffn],
    [0x30, 0x00af_fb00_0000_ffffn],
  ],
  4: [
    [0x18, 0x00cf_bb00_0000_ffffn],
    [0x20, 0x00cf_b300_0000_ffffn],
    [0x28, 0x00cf_fb00_0000_ffffn],
    [0x30, 0x00cf_f300_0000_ffffn],
  ],
};

const PAGES_FOR_ROOMS = 512;

/** Machine memory that a PV guest needs beside its own: M2P and its tables, per-vCPU pages, shared pages, the frame table. */
export function overheadBytes(memoryBytes: number, vcpus: number): number {
  const without = overheadWithoutFrames(memoryBytes, vcpus);
  // The table has records of its own frames, too: less than one in 400.
  const frames = Math.ceil((memoryBytes + without) / PAGE_BYTES / (1 - 1 / 400));
  return without + frameTableBytes(frames) + PAGE_BYTES;
}

function overheadWithoutFrames(memoryBytes: number, vcpus: number): number {
  const m2pPages = Math.ceil(memoryBytes / PAGE_BYTES / 500) + 4;
  const tables = 8 + Math.ceil(m2pPages / ENTRIES_PER_TABLE) + Math.ceil(vcpus / 16);
  return (m2pPages + tables + vcpus + PAGES_FOR_ROOMS) * PAGE_BYTES;
}

/**
 * The hypervisor's part of every guest address space, through real page tables. A PV64 guest's L4 tables hold it in slots
 * 256–271. A PAE guest's tables hang from an L4 table of the hypervisor's own, one for each vCPU: its slot 0 is the
 * guest's L3 table, and what lies above 4 GiB is out of the guest's reach; the fourth gigabyte holds the guest's
 * machine-to-physical table.
 */
export class HypervisorHole {
  readonly #words: Int32Array;
  readonly #memory: GuestMemory;
  readonly #frames: FrameTable;
  readonly #model: PvModel;
  /** First of the consecutive frames of the machine-to-physical table. */
  readonly m2pFirstMfn: number;
  readonly m2pPages: number;
  readonly #m2pGpa: number;
  /** PV64: the L3 table over the machine-to-physical table. PAE: its L1 tables, in order. */
  #m2pL3 = 0;
  readonly #m2pL1: number[] = [];
  readonly #perDomainL3: number;
  readonly #descriptorL1: number[] = [];
  readonly #zeroPage: number;
  readonly #reservedGdtPage: number;
  /** PAE: each vCPU's L4 table. */
  readonly #paeRoots: number[] = [];

  constructor(memory: GuestMemory, frames: FrameTable, vcpus: number, model: PvModel) {
    this.#memory = memory;
    this.#words = memory.words;
    this.#frames = frames;
    this.#model = model;
    this.m2pPages = Math.ceil((frames.count * model.wordBytes) / PAGE_BYTES);
    const first = this.#takeRun(this.m2pPages);
    this.m2pFirstMfn = first;
    this.#m2pGpa = first * PAGE_BYTES;
    memory.fill(this.#m2pGpa, this.m2pPages * PAGE_BYTES, 0xff);
    if (model.levels === 4) this.#mapM2p(first, this.m2pPages);
    else this.#mapPaeM2p(first, this.m2pPages);
    this.#zeroPage = this.#take();
    this.#reservedGdtPage = this.#take();
    this.#writeReservedDescriptors();
    this.#perDomainL3 = this.#take();
    this.#createDescriptorArea(vcpus);
    if (model.levels === 3) this.#createPaeRoots(vcpus);
  }

  #take(): number {
    const mfn = this.#frames.take(Owner.HYPERVISOR);
    if (mfn === undefined) {
      throw new PolyvisorError('PV4001', 'no machine memory left for Xen tables', 'give the machine more memory');
    }
    this.#memory.fill(mfn * PAGE_BYTES, PAGE_BYTES, 0);
    return mfn;
  }

  #takeRun(count: number): number {
    const first = this.#take();
    for (let index = 1; index < count; index++) {
      if (this.#take() !== first + index) throw new Error('machine frames are not handed out in order');
    }
    return first;
  }

  #write(table: number, slot: number, mfn: number, flags: number): void {
    const at = table * 1024 + slot * 2;
    this.#words[at] = (mfn << 12) | flags;
    this.#words[at + 1] = mfn >>> 20;
  }

  #mapM2p(first: number, pages: number): void {
    this.#m2pL3 = this.#take();
    let l2 = 0;
    let l1 = 0;
    for (let page = 0; page < pages; page++) {
      if (page % (ENTRIES_PER_TABLE * ENTRIES_PER_TABLE) === 0) {
        l2 = this.#take();
        this.#write(this.#m2pL3, page / (ENTRIES_PER_TABLE * ENTRIES_PER_TABLE), l2, M2P_TABLE);
      }
      if (page % ENTRIES_PER_TABLE === 0) {
        l1 = this.#take();
        this.#write(l2, (page / ENTRIES_PER_TABLE) % ENTRIES_PER_TABLE, l1, M2P_TABLE);
      }
      this.#write(l1, page % ENTRIES_PER_TABLE, first + page, M2P_PAGE);
    }
  }

  /** A PAE guest addresses it from its kernel's level and, as on Xen, from user mode too; neither may write. */
  #mapPaeM2p(first: number, pages: number): void {
    for (let page = 0; page < pages; page++) {
      if (page % ENTRIES_PER_TABLE === 0) this.#m2pL1.push(this.#take());
      this.#write(this.#m2pL1[this.#m2pL1.length - 1]!, page % ENTRIES_PER_TABLE, first + page, M2P_PAGE);
    }
  }

  #createPaeRoots(vcpus: number): void {
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      const root = this.#take();
      this.#write(root, PER_DOMAIN_SLOT, this.#perDomainL3, OWN_TABLE);
      this.#paeRoots.push(root);
    }
  }

  /** Hang a PAE guest's L3 table below a vCPU's L4 table; answers the frame for CR3. */
  paeRoot(vcpu: number, l3Mfn: number): number {
    const root = this.#paeRoots[vcpu]!;
    this.#write(root, 0, l3Mfn, PAE_ROOT_ENTRY);
    return root;
  }

  /** The flat segments that every GDT has (public/arch-x86/xen-x86_64.h, xen-x86_32.h). */
  #writeReservedDescriptors(): void {
    const gpa = this.#reservedGdtPage * PAGE_BYTES;
    for (const [offset, descriptor] of RESERVED_DESCRIPTORS[this.#model.wordBytes]) {
      this.#memory.write64(gpa + offset, descriptor);
    }
  }

  #createDescriptorArea(vcpus: number): void {
    const l2 = this.#take();
    this.#write(this.#perDomainL3, 0, l2, OWN_TABLE);
    const perTable = ENTRIES_PER_TABLE / DESCRIPTOR_PAGES_PER_VCPU;
    for (let index = 0; index < Math.ceil(vcpus / perTable); index++) {
      const l1 = this.#take();
      this.#descriptorL1.push(l1);
      this.#write(l2, index, l1, OWN_TABLE);
    }
    for (let vcpu = 0; vcpu < vcpus; vcpu++) {
      for (let page = 0; page < FIRST_RESERVED_GDT_PAGE; page++) this.mapDescriptorPage(vcpu, page, undefined);
      this.mapDescriptorPage(vcpu, FIRST_RESERVED_GDT_PAGE, this.#reservedGdtPage);
    }
  }

  /** Pages 0–15 are the GDT, 16–31 the LDT; a GDT page without a frame reads as zeros, an LDT page is absent. */
  mapDescriptorPage(vcpu: number, page: number, mfn: number | undefined): void {
    const index = vcpu * DESCRIPTOR_PAGES_PER_VCPU + page;
    const table = this.#descriptorL1[Math.floor(index / ENTRIES_PER_TABLE)];
    const slot = index % ENTRIES_PER_TABLE;
    if (mfn !== undefined) this.#write(table, slot, mfn, OWN_PAGE);
    else if (page < DESCRIPTOR_PAGES_PER_VCPU / 2) this.#write(table, slot, this.#zeroPage, OWN_PAGE_READ_ONLY);
    else this.#write(table, slot, 0, 0);
  }

  /** Fill the hypervisor's slots of a guest L4, whatever the guest had written there. */
  install(l4Mfn: number): void {
    this.#words.fill(0, l4Mfn * 1024 + FIRST_XEN_SLOT * 2, l4Mfn * 1024 + (LAST_XEN_SLOT + 1) * 2);
    this.#write(l4Mfn, M2P_SLOT, this.#m2pL3, M2P_TABLE);
    this.#write(l4Mfn, PER_DOMAIN_SLOT, this.#perDomainL3, OWN_TABLE);
  }

  /** Fill the hypervisor's slots of the L2 table of a PAE guest's fourth gigabyte. */
  installPae(l2Mfn: number): void {
    this.#words.fill(0, l2Mfn * 1024 + FIRST_PAE_XEN_SLOT * 2, (l2Mfn + 1) * 1024);
    this.#m2pL1.forEach((l1, index) => {
      this.#write(l2Mfn, FIRST_PAE_XEN_SLOT + index, l1, M2P_TABLE);
    });
  }

  /** Set a machine-to-physical entry; halves as a 64-bit guest has them in memory, a 32-bit guest has the low one. */
  setM2p(mfn: number, lo: number, hi: number): void {
    if (this.#model.wordBytes === 4) {
      this.#words[this.#m2pGpa / 4 + mfn] = lo;
      return;
    }
    const at = this.#m2pGpa / 4 + mfn * 2;
    this.#words[at] = lo;
    this.#words[at + 1] = hi;
  }

  m2p(mfn: number): { readonly lo: number; readonly hi: number } {
    if (this.#model.wordBytes === 4) {
      const lo = this.#words[this.#m2pGpa / 4 + mfn];
      // No frame, or one of the hypervisor's own.
      return { lo, hi: lo === -1 || lo === -2 ? -1 : 0 };
    }
    const at = this.#m2pGpa / 4 + mfn * 2;
    return { lo: this.#words[at], hi: this.#words[at + 1] };
  }
}
