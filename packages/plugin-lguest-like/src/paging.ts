/**
 * The guest's page tables. They are the ones that the processor walks (docs/decisions: lguest's guests run on their own page
 * tables); what the guest says of them keeps the TLB right, and is checked as lguest checked its shadows
 * (drivers/lguest/page_tables.c).
 */
import type { LguestGuest } from './guest.ts';
import { hex, kill } from './killed.ts';

export const Pte = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PSE: 0x80 } as const;
/** All that an entry which leads to a table may have set: P RW US A D. */
const TABLE_FLAGS = Pte.P | Pte.RW | Pte.US | Pte.A | Pte.D;
const FLAGS = 0xfff;
/** What of an entry's low bits makes it one that the guest may not have. */
export const Forbidden = { PDPTE: FLAGS & ~Pte.P, TABLE: FLAGS & ~TABLE_FLAGS, LEAF: Pte.PSE } as const;
const PAGE_BYTES = 4096;
/** What the switcher has at the top of every address space: lguest_data.reserve_mem. */
export const reservedBytes = ({ pae }: { readonly pae: boolean }): number => (pae ? 2 : 4) << 20;
/** Upper half of a PAE entry: address bits 35:32 and up; bit 63 is NX. */
export const HIGH_ADDRESS = 0x7fffffff;

const isSwitcher = (guest: LguestGuest, gva: number) => gva >= 2 ** 32 - reservedBytes(guest.paging);

/** check_gpgd, check_gpmd, check_gpte: an entry is not present, or is of the kind that the guest may have. @throws Killed */
function checkEntry(guest: LguestGuest, low: number, high: number, forbidden: number, what: string): void {
  if ((low & Pte.P) === 0) return;
  const isBeyond = (high & HIGH_ADDRESS) !== 0 || (low & ~FLAGS) >>> 0 >= guest.memory.limit;
  if ((low & forbidden) !== 0 || isBeyond) kill(`bad page ${what} entry`);
}
const checkTable = (guest: LguestGuest, low: number, high: number, what: string) =>
  checkEntry(guest, low, high, Forbidden.TABLE, what);
const checkPdpte = (guest: LguestGuest, low: number, high: number) =>
  checkEntry(guest, low, high, Forbidden.PDPTE, 'directory');
const checkLeaf = (guest: LguestGuest, low: number, high: number) => {
  if (!isDeviceMemory(guest, low, high)) checkEntry(guest, low, high, Forbidden.LEAF, 'table');
};

/** gpte_in_iomem: registers of the PCI bus's functions may be mapped, but not by large pages. */
function isDeviceMemory({ bus }: LguestGuest, low: number, high: number): boolean {
  const frame = (low & ~FLAGS) >>> 0;
  const isLow = (low & Pte.PSE) === 0 && (high & HIGH_ADDRESS) === 0;
  return bus?.pci !== undefined && isLow && frame >= bus.pci.firstGpa && frame < bus.pci.endGpa;
}

/** LHCALL_NEW_PGTABLE. @throws Killed */
export function newPageTable(guest: LguestGuest, pgdir: number): void {
  const { cpu, memory, paging } = guest;
  const sizeBytes = paging.pae ? 32 : PAGE_BYTES;
  if (pgdir % sizeBytes !== 0 || !memory.contains(pgdir, sizeBytes)) kill(`bad page directory address ${hex(pgdir)}`);
  if (paging.pae) checkPdptes(guest, pgdir);
  cpu.switchRoot(BigInt(pgdir));
  if (!guest.hasOwnTables) cpu.flushTlb();
  guest.hasOwnTables = true;
}

function checkPdptes(guest: LguestGuest, pgdir: number): void {
  for (let at = pgdir; at < pgdir + 32; at += 8) {
    checkPdpte(guest, guest.memory.read32(at), guest.memory.read32(at + 4));
  }
}

/** LHCALL_SET_PTE: an entry for `gva` has been written in the tables at `pgdir`. @throws Killed */
export function setPte(guest: LguestGuest, gva: number, low: number, high: number): void {
  if (isSwitcher(guest, gva)) kill('attempt to access switcher pages');
  if ((low & (Pte.A | Pte.D)) !== 0) checkLeaf(guest, low, guest.paging.pae ? high : 0);
  guest.cpu.flushTlb(BigInt(gva));
}

/** LHCALL_SET_PGD: entry `index` of a top-level table has been written. @throws Killed */
export function setPgd(guest: LguestGuest, pgdir: number, index: number): void {
  const { cpu, memory, paging } = guest;
  if (index >= (paging.pae ? 3 : 1023)) return;
  if (!paging.pae) checkTable(guest, memory.read32(pgdir + index * 4), 0, 'directory');
  else {
    const at = pgdir + index * 8;
    checkPdpte(guest, memory.read32(at), memory.read32(at + 4));
    // PAE's upper entries are in registers.
    if (cpu.cr3 === BigInt(pgdir)) {
      checkPdptes(guest, pgdir);
      cpu.cr3 = BigInt(pgdir);
    }
  }
  cpu.flushTlb();
}

/** LHCALL_SET_PMD: entry `index` of a middle table of PAE has been written. @throws Killed */
export function setPmd(guest: LguestGuest, pmd: number, index: number): void {
  if (!guest.paging.pae) {
    kill('SET_PMD from a kernel that was started without PAE: use --plugin lguest-like=pae:on');
  }
  const at = pmd + (index >>> 0) * 8;
  checkTable(guest, guest.memory.read32(at), guest.memory.read32(at + 4), 'middle directory');
  guest.cpu.flushTlb();
}

/** LHCALL_FLUSH_TLB: of everything, or of the user's part of the tables in use. */
export function flushTlb({ cpu }: LguestGuest, everything: boolean): void {
  const { cr3 } = cpu;
  if (everything) cpu.flushTlb();
  else cpu.cr3 = cr3;
}

/** Before a page fault is the guest's own: what leads there must be allowed, as where lguest filled its shadow. @throws Killed */
export function checkFault(guest: LguestGuest, gva: number): void {
  const { memory, paging, cpu } = guest;
  const root = Number(cpu.cr3 & 0xffff_ffffn);
  let low: number;
  if (paging.pae) {
    const pdpte = root + (gva >>> 30) * 8;
    const [pdpteLow, pdpteHigh] = [memory.read32(pdpte), memory.read32(pdpte + 4)];
    if ((pdpteLow & Pte.P) === 0) return;
    checkPdpte(guest, pdpteLow, pdpteHigh);
    const pmd = ((pdpteLow & ~FLAGS) >>> 0) + ((gva >>> 21) & 511) * 8;
    low = memory.read32(pmd);
    if ((low & Pte.P) === 0) return;
    checkTable(guest, low, memory.read32(pmd + 4), 'middle directory');
  } else {
    low = memory.read32((root & ~FLAGS) + (gva >>> 22) * 4);
    if ((low & Pte.P) === 0) return;
    checkTable(guest, low, 0, 'directory');
  }
  if (isSwitcher(guest, gva)) kill('attempt to access switcher pages');
  const table = (low & ~FLAGS) >>> 0;
  const at = table + (paging.pae ? ((gva >>> 12) & 511) * 8 : ((gva >>> 12) & 1023) * 4);
  checkLeaf(guest, memory.read32(at), paging.pae ? memory.read32(at + 4) : 0);
}
