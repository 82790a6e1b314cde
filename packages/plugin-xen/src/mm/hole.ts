import { type GuestMemory, PolyvisorError } from '@polyvisor/plugin-api';
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
import { type FrameTable, Owner } from './frames.ts';

const M2P_TABLE = PTE_PRESENT | PTE_USER | PTE_ACCESSED;
const M2P_PAGE = PTE_PRESENT | PTE_USER | PTE_ACCESSED;
const OWN_TABLE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY;
const OWN_PAGE_READ_ONLY = PTE_PRESENT | PTE_ACCESSED;
/** Descriptor tables stay out of the guest's reach (no U bit); the CPU itself sets their Accessed bits. */
const OWN_PAGE = PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY;

const PAGES_FOR_ROOMS = 512;

/** Machine memory that a PV guest needs beside its own: M2P and its tables, per-vCPU pages, shared pages. */
export function overheadBytes(memoryBytes: number, vcpus: number): number {
  const m2pPages = Math.ceil(memoryBytes / PAGE_BYTES / 500) + 4;
  const tables = 8 + Math.ceil(m2pPages / ENTRIES_PER_TABLE) + Math.ceil(vcpus / 16);
  return (m2pPages + tables + vcpus + PAGES_FOR_ROOMS) * PAGE_BYTES;
}

/** The hypervisor's part of every guest address space, L4 slots 256–271, through real page tables. */
export class HypervisorHole {
  readonly #words: Int32Array;
  readonly #memory: GuestMemory;
  readonly #frames: FrameTable;
  /** First of the consecutive frames of the machine-to-physical table. */
  readonly m2pFirstMfn: number;
  readonly #m2pGpa: number;
  readonly #m2pL3: number;
  readonly #perDomainL3: number;
  readonly #descriptorL1: number[] = [];
  readonly #zeroPage: number;
  readonly #reservedGdtPage: number;

  constructor(memory: GuestMemory, frames: FrameTable, vcpus: number) {
    this.#memory = memory;
    this.#words = memory.words;
    this.#frames = frames;
    const m2pPages = Math.ceil(frames.count / ENTRIES_PER_TABLE);
    const first = this.#takeRun(m2pPages);
    this.m2pFirstMfn = first;
    this.#m2pGpa = first * PAGE_BYTES;
    memory.fill(this.#m2pGpa, m2pPages * PAGE_BYTES, 0xff);
    this.#m2pL3 = this.#take();
    this.#mapM2p(first, m2pPages);
    this.#zeroPage = this.#take();
    this.#reservedGdtPage = this.#take();
    this.#writeReservedDescriptors();
    this.#perDomainL3 = this.#take();
    this.#createDescriptorArea(vcpus);
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

  /** Flat descriptors at 0xe020, 0xe028, 0xe030: 32-bit code, data, 64-bit code, all DPL 3 (public/arch-x86/xen-x86_64.h). */
  #writeReservedDescriptors(): void {
    const gpa = this.#reservedGdtPage * PAGE_BYTES;
    this.#memory.write64(gpa + 0x20, 0x00cf_fb00_0000_ffffn);
    this.#memory.write64(gpa + 0x28, 0x00cf_f300_0000_ffffn);
    this.#memory.write64(gpa + 0x30, 0x00af_fb00_0000_ffffn);
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

  /** Set a machine-to-physical entry; halves as they stand in memory. */
  setM2p(mfn: number, lo: number, hi: number): void {
    const at = this.#m2pGpa / 4 + mfn * 2;
    this.#words[at] = lo;
    this.#words[at + 1] = hi;
  }

  m2p(mfn: number): { readonly lo: number; readonly hi: number } {
    const at = this.#m2pGpa / 4 + mfn * 2;
    return { lo: this.#words[at], hi: this.#words[at + 1] };
  }
}
