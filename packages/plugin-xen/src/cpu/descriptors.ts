import { readWord } from '../abi/struct.ts';
import { copyFromGuest, isGuestAddress } from '../access.ts';
import type { HypercallArguments, HypercallContext, XenVcpu } from '../domain.ts';
import { EFAULT, EINVAL } from '../errno.ts';
import {
  DESCRIPTOR_PAGES_PER_VCPU,
  FIRST_RESERVED_GDT_ENTRY,
  FIRST_RESERVED_GDT_PAGE,
  LAST_RESERVED_GDT_BYTE,
  LDT_FIRST_PAGE,
  PAGE_BYTES,
  PER_DOMAIN_VIRT_START,
} from '../layout.ts';
import { FrameType } from '../mm/frames.ts';
import type { PvMemory } from '../mm/manager.ts';
import { OK } from '../mm/pageTables.ts';
import type { PvDomain } from '../pvDomain.ts';
import { forgetSelectors } from './cells.ts';
import { safeDescriptor, TRUNCATES_SEGMENTS } from './descriptorCheck.ts';
import { NULL_SEGMENT } from './segments.ts';

const DESCRIPTORS_PER_PAGE = 512;
const LDT_RIGHTS = 0x0082;
const UNUSABLE = 0x1_0000;
const MAX_LDT_ENTRIES = 8192;

/** GDTR and an empty LDTR as a PV64 vCPU has them from its first instruction. */
export function loadDescriptorTables(vcpu: XenVcpu): void {
  const { gdtr } = vcpu.cpu.tables;
  gdtr.base = gdtAddress(vcpu);
  gdtr.limit = LAST_RESERVED_GDT_BYTE;
  loadLdt(vcpu);
}

function gdtAddress(vcpu: XenVcpu): bigint {
  return PER_DOMAIN_VIRT_START + BigInt(vcpu.id * DESCRIPTOR_PAGES_PER_VCPU * PAGE_BYTES);
}

export function ldtAddress(vcpu: XenVcpu): bigint {
  return gdtAddress(vcpu) + BigInt(LDT_FIRST_PAGE * PAGE_BYTES);
}

/** HYPERVISOR_set_gdt(frame_list, entries). */
export function setGdt(domain: PvDomain, context: HypercallContext, args: HypercallArguments): bigint {
  const { vcpu, wordBytes } = context;
  const entries = Number(args[1] & 0xffff_ffffn);
  if (entries > FIRST_RESERVED_GDT_ENTRY) return EINVAL;
  const count = Math.ceil(entries / DESCRIPTORS_PER_PAGE);
  const list = count === 0 ? new DataView(new ArrayBuffer(0)) : copyFromGuest(vcpu, args[0], count * wordBytes);
  if (list === undefined) return EFAULT;
  const frames: number[] = [];
  for (let index = 0; index < count; index++) frames.push(Number(readWord(list, index * wordBytes, wordBytes)));
  return installGdt(domain.mm, vcpu, frames, entries) ? 0n : EINVAL;
}

/** Take the new frames, then drop the old ones; `false`: a frame was refused and nothing changed. */
export function installGdt(mm: PvMemory, vcpu: XenVcpu, frames: readonly number[], entries: number): boolean {
  const taken: number[] = [];
  for (const mfn of frames) {
    if (!Number.isSafeInteger(mfn) || mm.tables.getPageAndType(mfn, FrameType.DESCRIPTORS) !== OK) {
      for (const undo of taken) mm.tables.putPageAndType(undo);
      return false;
    }
    taken.push(mfn);
  }
  for (const old of vcpu.gdtFrames) mm.tables.putPageAndType(old);
  for (let page = 0; page < FIRST_RESERVED_GDT_PAGE; page++) mm.hole.mapDescriptorPage(vcpu.id, page, taken[page]);
  forgetSelectors(vcpu);
  vcpu.gdtFrames = taken;
  vcpu.gdtEntries = entries;
  mm.flush(vcpu);
  return true;
}

/** HYPERVISOR_update_descriptor(machine address, descriptor). */
export function updateDescriptor(domain: PvDomain, _context: HypercallContext, args: HypercallArguments): bigint {
  const address = args[0];
  const [lo, hi] = [Number(args[1] & 0xffff_ffffn) | 0, Number(args[1] >> 32n) | 0];
  const safe = safeDescriptor(lo, hi, domain.model, (domain.vmAssist & TRUNCATES_SEGMENTS) !== 0);
  if ((address & 7n) !== 0n || safe === undefined || address >= BigInt(domain.memory.sizeBytes)) return EINVAL;
  const gpa = Number(address);
  const mfn = Math.floor(gpa / PAGE_BYTES);
  const { mm } = domain;
  if (!mm.isGuestFrame(mfn)) return EINVAL;
  const type = mm.frames.typeOf(mfn) === FrameType.DESCRIPTORS ? FrameType.DESCRIPTORS : FrameType.WRITABLE;
  if (mm.tables.getPageAndType(mfn, type) !== OK) return EINVAL;
  for (const vcpu of domain.vcpus) forgetSelectors(vcpu);
  domain.memory.words[gpa / 4] = safe.lo;
  domain.memory.words[gpa / 4 + 1] = safe.hi;
  mm.tables.putPageAndType(mfn);
  return 0n;
}

/** MMUEXT_SET_LDT: frames are mapped when the CPU first reads them, see {@link ldtFrame}. */
export function setLdt(mm: PvMemory, vcpu: XenVcpu, base: bigint, entries: number): bigint {
  if (entries > MAX_LDT_ENTRIES || (entries !== 0 && (base & 0xfffn) !== 0n)) return EINVAL;
  dropLdt(mm, vcpu);
  vcpu.ldtBase = entries === 0 ? 0n : base;
  vcpu.ldtEntries = entries;
  loadLdt(vcpu);
  return 0n;
}

function loadLdt(vcpu: XenVcpu): void {
  vcpu.cpu.tables.ldtr =
    vcpu.ldtEntries === 0
      ? { ...NULL_SEGMENT, accessRights: LDT_RIGHTS | UNUSABLE }
      : { selector: 0, base: ldtAddress(vcpu), limit: vcpu.ldtEntries * 8 - 1, accessRights: LDT_RIGHTS };
}

/** Unmap all LDT pages: a new table, or a new root under which the addresses may lead elsewhere. */
export function dropLdt(mm: PvMemory, vcpu: XenVcpu): void {
  if (vcpu.ldtFrames.size === 0) return;
  for (const [page, mfn] of vcpu.ldtFrames) {
    mm.hole.mapDescriptorPage(vcpu.id, LDT_FIRST_PAGE + page, undefined);
    mm.tables.putPageAndType(mfn);
  }
  vcpu.ldtFrames.clear();
  mm.flush(vcpu);
}

/** The CPU touched an absent LDT page: map the guest's frame there if it may be one. */
function mapLdtPage(domain: PvDomain, vcpu: XenVcpu, page: number, mfn: number): boolean {
  const { mm } = domain;
  if (mm.tables.getPageAndType(mfn, FrameType.DESCRIPTORS) !== OK) return false;
  vcpu.ldtFrames.set(page, mfn);
  mm.hole.mapDescriptorPage(vcpu.id, LDT_FIRST_PAGE + page, mfn);
  return true;
}

/** The frame of a page of the guest's LDT, mapped as if the CPU had touched it; `undefined`: it cannot be one. */
export function ldtFrame(domain: PvDomain, vcpu: XenVcpu, page: number): number | undefined {
  if (!vcpu.ldtFrames.has(page)) {
    const address = vcpu.ldtBase + BigInt(page * PAGE_BYTES);
    if (!isGuestAddress(address)) return undefined;
    const found = vcpu.cpu.translate(address, 'read', { as: 'supervisor' });
    if (!found.ok) return undefined;
    mapLdtPage(domain, vcpu, page, Math.floor(found.gpa / PAGE_BYTES));
  }
  return vcpu.ldtFrames.get(page);
}
