/** What VM entry and VM exit move between the guest-state area and the processor (SDM vol. 3C, 26.3.2 and 27.3). */
import { type Assist, Gpr, type Segment, SegmentIndex, type Vcpu } from '@polyvisor/plugin-api';
import { Activity, Interruptibility, PendingDebug } from './checks/guest.ts';
import { Rights } from './checks/segments.ts';
import { type Controls, Cr0, Efer, Rflags } from './checks/state.ts';
import { EntryControl, ExitControl } from './controls.ts';
import type { Vmcs } from './vmcs.ts';

export const Msr = {
  DEBUGCTL: 0x1d9,
  PAT: 0x277,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
} as const;
const CR0_ET = 1n << 4n;
/** Bits of CR0 that no VM entry changes. */
const CR0_KEPT = Cr0.NW | Cr0.CD;
/** DR7: bit 10 is 1, bits 11, 12, 14 and 15 are 0. */
const DR7_ONE = 0x400n;
const DR7_ZEROS = 0xd800n;
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'] as const;
/** Their base is 0 in 64-bit mode. */
const FLAT_SEGMENTS: ReadonlySet<string> = new Set(['ES', 'CS', 'SS', 'DS']);

/** CR0 as an entry or exit loads it. */
export const loadedCr0 = (vcpu: Vcpu, cr0: bigint): bigint => (cr0 & ~CR0_KEPT) | (vcpu.cr0 & CR0_KEPT) | CR0_ET;

function eferOf(vcpu: Vcpu, vmcs: Vmcs, entry: number, cr0: bigint): bigint {
  if (entry & EntryControl.LOAD_EFER) return vmcs.read64('GUEST_EFER');
  const isLong = (entry & EntryControl.IA32E_MODE_GUEST) !== 0;
  const others = vcpu.efer & ~(cr0 & Cr0.PG ? Efer.LMA | Efer.LME : Efer.LMA);
  if (!isLong) return others;
  return others | Efer.LMA | Efer.LME;
}

function cplOf(vmcs: Vmcs, cr0: bigint, rflags: bigint): number {
  if ((cr0 & Cr0.PE) === 0n) return 0;
  if (rflags & Rflags.VM) return 3;
  return (vmcs.read('GUEST_SS_ACCESS_RIGHTS') >>> Rights.DPL_SHIFT) & 3;
}

/** The guest's state into the processor, which runs it as `assist` says. @param pdptes of a guest with PAE paging */
export function loadGuest(
  vcpu: Vcpu,
  vmcs: Vmcs,
  controls: Controls,
  pdptes: readonly bigint[] | undefined,
  assist: Assist,
): void {
  const cr0 = loadedCr0(vcpu, vmcs.read64('GUEST_CR0'));
  const rflags = vmcs.read64('GUEST_RFLAGS');
  const efer = eferOf(vcpu, vmcs, controls.entry, cr0);
  vcpu.rflags = rflags;
  vcpu.switchWorld(assist, {
    ...{ cr0, cr3: vmcs.read64('GUEST_CR3'), cr4: vmcs.read64('GUEST_CR4'), efer, cpl: cplOf(vmcs, cr0, rflags) },
    ...(pdptes && { pdptes }),
  });
  const isFlat = (efer & Efer.LMA) !== 0n && (vmcs.read('GUEST_CS_ACCESS_RIGHTS') & Rights.L) !== 0;
  for (const name of SEGMENTS) {
    const segment = vmcs.segment(name);
    vcpu.setSegment(SegmentIndex[name], isFlat && FLAT_SEGMENTS.has(name) ? { ...segment, base: 0n } : segment);
  }
  vcpu.tables.ldtr = vmcs.segment('LDTR');
  vcpu.tables.tr = vmcs.segment('TR');
  Object.assign(vcpu.tables.gdtr, vmcs.table('GDTR'));
  Object.assign(vcpu.tables.idtr, vmcs.table('IDTR'));
  if (controls.entry & EntryControl.LOAD_DEBUG_CONTROLS) {
    vcpu.setDebugRegister(7, (vmcs.read64('GUEST_DR7') & ~DR7_ZEROS) | DR7_ONE);
    vcpu.writeMsr(Msr.DEBUGCTL, vmcs.read64('GUEST_DEBUGCTL'));
  }
  if (controls.entry & EntryControl.LOAD_PAT) vcpu.writeMsr(Msr.PAT, vmcs.read64('GUEST_PAT'));
  vcpu.writeMsr(Msr.SYSENTER_CS, BigInt(vmcs.read('GUEST_SYSENTER_CS')));
  vcpu.writeMsr(Msr.SYSENTER_ESP, vmcs.read64('GUEST_SYSENTER_ESP'));
  vcpu.writeMsr(Msr.SYSENTER_EIP, vmcs.read64('GUEST_SYSENTER_EIP'));
  vcpu.gpr[Gpr.RSP] = vmcs.read64('GUEST_RSP');
  vcpu.rip = vmcs.read64('GUEST_RIP');
  const shadow = vmcs.read('GUEST_INTERRUPTIBILITY');
  vcpu.debugShadow = (shadow & Interruptibility.MOV_SS) !== 0;
  vcpu.interruptShadow = vcpu.debugShadow || (shadow & Interruptibility.STI) !== 0;
  vcpu.nmiBlocked = (shadow & Interruptibility.NMI) !== 0;
  vcpu.heldTraps = vcpu.debugShadow ? Number(vmcs.read64('GUEST_PENDING_DEBUG') & PendingDebug.BREAKPOINTS) : 0;
}

/** A processor marks what it loads as accessed, in the descriptor and in itself; core does so only where it can be seen. */
function accessed(segment: Segment): Segment {
  const { accessRights } = segment;
  const isMarked = (accessRights & Rights.S) !== 0 && (accessRights & Rights.UNUSABLE) === 0;
  return isMarked ? { ...segment, accessRights: accessRights | Rights.ACCESSED } : segment;
}

/** By STI or MOV SS, of the instruction that has not been carried out. */
function blocking(vcpu: Vcpu): number {
  const isOfStack = vcpu.instructionShadow === 'stackSegment' || vcpu.debugShadow;
  if (!vcpu.interruptShadow && vcpu.instructionShadow === undefined) return 0;
  return isOfStack ? Interruptibility.MOV_SS : Interruptibility.STI;
}

/**
 * The guest's state out of the processor.
 * @param isHalted it is in HLT
 * @param isBehind the instruction that the exit is of has been carried out
 */
export function saveGuest(
  vcpu: Vcpu,
  vmcs: Vmcs,
  controls: Controls,
  { isHalted, isBehind }: { isHalted: boolean; isBehind: boolean },
): void {
  vmcs.write64('GUEST_CR0', vcpu.cr0);
  vmcs.write64('GUEST_CR3', vcpu.cr3);
  vmcs.write64('GUEST_CR4', vcpu.cr4);
  for (const name of SEGMENTS) vmcs.setSegment(name, accessed(vcpu.segment(SegmentIndex[name])));
  const stackRights = vmcs.read('GUEST_SS_ACCESS_RIGHTS') & ~(3 << Rights.DPL_SHIFT);
  vmcs.write('GUEST_SS_ACCESS_RIGHTS', stackRights | (vcpu.cpl << Rights.DPL_SHIFT));
  vmcs.setSegment('LDTR', vcpu.tables.ldtr);
  vmcs.setSegment('TR', vcpu.tables.tr);
  vmcs.setTable('GDTR', vcpu.tables.gdtr);
  vmcs.setTable('IDTR', vcpu.tables.idtr);
  if (controls.exit & ExitControl.SAVE_DEBUG_CONTROLS) {
    vmcs.write64('GUEST_DR7', vcpu.debugRegister(7));
    vmcs.write64('GUEST_DEBUGCTL', vcpu.readMsr(Msr.DEBUGCTL) ?? 0n);
  }
  if (controls.exit & ExitControl.SAVE_PAT) vmcs.write64('GUEST_PAT', vcpu.readMsr(Msr.PAT) ?? 0n);
  if (controls.exit & ExitControl.SAVE_EFER) vmcs.write64('GUEST_EFER', vcpu.efer);
  const isLong = (vcpu.efer & Efer.LMA) !== 0n;
  vmcs.write(
    'ENTRY_CONTROLS',
    isLong ? controls.entry | EntryControl.IA32E_MODE_GUEST : controls.entry & ~EntryControl.IA32E_MODE_GUEST,
  );
  vmcs.write('GUEST_SYSENTER_CS', Number((vcpu.readMsr(Msr.SYSENTER_CS) ?? 0n) & 0xffff_ffffn));
  vmcs.write64('GUEST_SYSENTER_ESP', vcpu.readMsr(Msr.SYSENTER_ESP) ?? 0n);
  vmcs.write64('GUEST_SYSENTER_EIP', vcpu.readMsr(Msr.SYSENTER_EIP) ?? 0n);
  vmcs.write64('GUEST_RSP', vcpu.gpr[Gpr.RSP]);
  vmcs.write64('GUEST_RIP', vcpu.rip);
  vmcs.write64('GUEST_RFLAGS', vcpu.rflags);
  const blocked = isBehind ? 0 : blocking(vcpu);
  vmcs.write('GUEST_INTERRUPTIBILITY', blocked | (vcpu.nmiBlocked ? Interruptibility.NMI : 0));
  vmcs.write('GUEST_ACTIVITY', isHalted ? Activity.HLT : Activity.ACTIVE);
  const steps = blocked !== 0 && (vcpu.rflags & Rflags.TF) !== 0n;
  vmcs.write64('GUEST_PENDING_DEBUG', steps ? PendingDebug.BS : 0n);
  if (!isLong && vcpu.assist?.secondLevel)
    ([0, 1, 2, 3] as const).forEach((i) => vmcs.write64(`GUEST_PDPTE${i}`, vcpu.pdptes[i]));
}
