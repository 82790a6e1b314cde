/** Checks on the guest-state area: a VM exit with reason 33 (SDM vol. 3C, 26.3.1). */
import { EntryControl, Pin } from '../controls.ts';
import { Interruption, InterruptionType, typeOf } from '../events.ts';
import { CR0_FIXED0, CR4_VMXE } from '../msrs.ts';
import { VMCS_REVISION, Vmcs } from '../vmcs.ts';
import { illegalSegment, Rights } from './segments.ts';
import {
  type Check,
  Cr0,
  Cr4,
  Efer,
  type Entry,
  firstOf,
  has,
  isBeyondPhysical,
  isCanonical,
  isIllegalPat,
  isLongGuest,
  isPage,
  isUnrestricted,
  isWide,
  Rflags,
  usesEpt,
} from './state.ts';

/** Guest interruptibility state (24.4.2). */
export const Interruptibility = { STI: 1, MOV_SS: 2, SMI: 4, NMI: 8, KNOWN: 0xf } as const;
export const Activity = { ACTIVE: 0, HLT: 1 } as const;
/** Pending debug exceptions (24.4.2): B0 to B3, an enabled breakpoint, BS. */
export const PendingDebug = { BREAKPOINTS: 0xfn, ENABLED: 1n << 12n, BS: 1n << 14n } as const;
const DEBUGCTL_BTF = 2n;
/** IA32_DEBUGCTL as the processor takes it. */
const DEBUGCTL_KNOWN = 0x3en;
const RFLAGS_RESERVED = 0xffff_ffff_ffc0_8028n;
const RFLAGS_ONE = 2n;
const [VECTOR_DB, VECTOR_MC] = [1, 18];
const NO_LINK = 0xffff_ffff_ffff_ffffn;
const PDPTE_PRESENT = 1n;
/** 40 bits of address. */
const PDPTE_RESERVED = 0xffff_ff00_0000_01e6n;

const entryHas = ({ controls }: Entry, bit: number) => (controls.entry & bit) !== 0;

function isIllegalCr0(entry: Entry): boolean {
  const cr0 = entry.vmcs.read64('GUEST_CR0');
  const ones = isUnrestricted(entry) ? CR0_FIXED0 & ~(Cr0.PE | Cr0.PG) : CR0_FIXED0;
  return (cr0 & ones) !== ones || isWide(cr0) || (has(cr0, Cr0.PG) && !has(cr0, Cr0.PE));
}

function isIllegalMode(entry: Entry): boolean {
  const [cr0, cr4] = [entry.vmcs.read64('GUEST_CR0'), entry.vmcs.read64('GUEST_CR4')];
  return isLongGuest(entry) ? !has(cr0, Cr0.PG) || !has(cr4, Cr4.PAE) : has(cr4, Cr4.PCIDE);
}

function isIllegalEfer(entry: Entry): boolean {
  if (!entryHas(entry, EntryControl.LOAD_EFER)) return false;
  const efer = entry.vmcs.read64('GUEST_EFER');
  const isLong = isLongGuest(entry);
  if (has(efer, ~Efer.KNOWN) || has(efer, Efer.LMA) !== isLong) return true;
  return has(entry.vmcs.read64('GUEST_CR0'), Cr0.PG) && has(efer, Efer.LME) !== isLong;
}

function isIllegalFlags(entry: Entry): boolean {
  const flags = entry.vmcs.read64('GUEST_RFLAGS');
  if (has(flags, RFLAGS_RESERVED) || !has(flags, RFLAGS_ONE)) return true;
  if (has(flags, Rflags.VM) && (isLongGuest(entry) || !has(entry.vmcs.read64('GUEST_CR0'), Cr0.PE))) return true;
  return injectedType(entry) === InterruptionType.EXTERNAL && !has(flags, Rflags.IF);
}

function isIllegalRip(entry: Entry): boolean {
  const rip = entry.vmcs.read64('GUEST_RIP');
  const isLongCode = isLongGuest(entry) && (entry.vmcs.read('GUEST_CS_ACCESS_RIGHTS') & Rights.L) !== 0;
  return isLongCode ? !isCanonical(rip) : isWide(rip);
}

/** Type of the event to inject, if there is one. */
function injectedType({ vmcs }: Entry): number | undefined {
  const information = vmcs.read('ENTRY_INTERRUPTION_INFORMATION');
  return information & Interruption.VALID ? typeOf(information) : undefined;
}

/** Events that end HLT and may be injected into it. */
function endsHlt(information: number): boolean {
  const vector = information & Interruption.VECTOR_MASK;
  const type = typeOf(information);
  if (type === InterruptionType.EXTERNAL || type === InterruptionType.NMI) return true;
  return type === InterruptionType.HARDWARE_EXCEPTION && (vector === VECTOR_DB || vector === VECTOR_MC);
}

function isIllegalActivity({ vmcs }: Entry): boolean {
  const activity = vmcs.read('GUEST_ACTIVITY');
  if (activity === Activity.ACTIVE) return false;
  if (activity !== Activity.HLT) return true;
  const dpl = (vmcs.read('GUEST_SS_ACCESS_RIGHTS') >>> Rights.DPL_SHIFT) & 3;
  if (dpl !== 0 || (vmcs.read('GUEST_INTERRUPTIBILITY') & (Interruptibility.STI | Interruptibility.MOV_SS)) !== 0)
    return true;
  const information = vmcs.read('ENTRY_INTERRUPTION_INFORMATION');
  return (information & Interruption.VALID) !== 0 && !endsHlt(information);
}

function isIllegalInterruptibility(entry: Entry): boolean {
  const { vmcs, controls } = entry;
  const state = vmcs.read('GUEST_INTERRUPTIBILITY');
  const type = injectedType(entry);
  const [sti, movSs] = [(state & Interruptibility.STI) !== 0, (state & Interruptibility.MOV_SS) !== 0];
  if ((state & ~Interruptibility.KNOWN) !== 0 || (state & Interruptibility.SMI) !== 0 || (sti && movSs)) return true;
  if (sti && !has(vmcs.read64('GUEST_RFLAGS'), Rflags.IF)) return true;
  if (type === InterruptionType.EXTERNAL && (sti || movSs)) return true;
  if (type !== InterruptionType.NMI) return false;
  return movSs || ((controls.pin & Pin.VIRTUAL_NMIS) !== 0 && (state & Interruptibility.NMI) !== 0);
}

function isIllegalPendingDebug({ vmcs }: Entry): boolean {
  const pending = vmcs.read64('GUEST_PENDING_DEBUG');
  if (has(pending, ~(PendingDebug.BREAKPOINTS | PendingDebug.ENABLED | PendingDebug.BS))) return true;
  const isBlocked = (vmcs.read('GUEST_INTERRUPTIBILITY') & (Interruptibility.STI | Interruptibility.MOV_SS)) !== 0;
  if (!isBlocked && vmcs.read('GUEST_ACTIVITY') !== Activity.HLT) return false;
  const steps = has(vmcs.read64('GUEST_RFLAGS'), Rflags.TF) && !has(vmcs.read64('GUEST_DEBUGCTL'), DEBUGCTL_BTF);
  return has(pending, PendingDebug.BS) !== steps;
}

function isIllegalLink({ vmcs, memory }: Entry): boolean {
  const link = vmcs.read64('VMCS_LINK_POINTER');
  if (link === NO_LINK) return false;
  if (!isPage(link) || Number(link) >= memory.sizeBytes || Number(link) === vmcs.gpa) return true;
  return new Vmcs(memory, Number(link)).revision !== VMCS_REVISION;
}

const isPaePaging = ({ vmcs }: Entry): boolean =>
  has(vmcs.read64('GUEST_CR0'), Cr0.PG) && has(vmcs.read64('GUEST_CR4'), Cr4.PAE);
/** The PDPTEs of a guest with PAE paging: of the VMCS with EPT, else in memory. `undefined`: it has none. */
export function pdptesOf(entry: Entry): readonly bigint[] | undefined {
  const { vmcs, memory } = entry;
  if (isLongGuest(entry) || !isPaePaging(entry)) return undefined;
  if (usesEpt(entry)) return ([0, 1, 2, 3] as const).map((i) => vmcs.read64(`GUEST_PDPTE${i}`));
  const at = Number(vmcs.read64('GUEST_CR3') & 0xffff_ffe0n);
  return [0, 8, 16, 24].map((offset) => (at + offset < memory.sizeBytes ? memory.read64(at + offset) : NO_LINK));
}
const isIllegalPdpte = (pdpte: bigint): boolean => has(pdpte, PDPTE_PRESENT) && has(pdpte, PDPTE_RESERVED);

const GUEST_CHECKS: readonly Check[] = [
  ['CR0', isIllegalCr0],
  ['CR4', ({ vmcs, cr4Bits }) => !has(vmcs.read64('GUEST_CR4'), CR4_VMXE) || has(vmcs.read64('GUEST_CR4'), ~cr4Bits)],
  [
    'DEBUGCTL or DR7',
    (entry) =>
      entryHas(entry, EntryControl.LOAD_DEBUG_CONTROLS) &&
      (has(entry.vmcs.read64('GUEST_DEBUGCTL'), ~DEBUGCTL_KNOWN) || isWide(entry.vmcs.read64('GUEST_DR7'))),
  ],
  ['the mode that CR0 and CR4 make', isIllegalMode],
  ['CR3', ({ vmcs }) => isBeyondPhysical(vmcs.read64('GUEST_CR3'))],
  [
    'SYSENTER',
    ({ vmcs }) => !isCanonical(vmcs.read64('GUEST_SYSENTER_ESP')) || !isCanonical(vmcs.read64('GUEST_SYSENTER_EIP')),
  ],
  ['PAT', (entry) => entryHas(entry, EntryControl.LOAD_PAT) && isIllegalPat(entry.vmcs.read64('GUEST_PAT'))],
  ['EFER', isIllegalEfer],
  ['RFLAGS', isIllegalFlags],
  ['a segment register', (entry) => illegalSegment(entry) !== undefined],
  [
    'GDTR or IDTR',
    ({ vmcs }) =>
      [vmcs.table('GDTR'), vmcs.table('IDTR')].some(({ base, limit }) => !isCanonical(base) || limit >>> 16 !== 0),
  ],
  ['RIP', isIllegalRip],
  ['the activity state', isIllegalActivity],
  ['the interruptibility state', isIllegalInterruptibility],
  ['pending debug exceptions', isIllegalPendingDebug],
];

/** Exit qualification of an entry that has failed for the guest's state (26.8). */
const Qualification = { PDPTE: 2n, LINK_POINTER: 4n, OTHERWISE: 0n } as const;

/** What of the guest's state is refused, and what the exit says of it. */
export function illegalGuestState(entry: Entry): { readonly what: string; readonly qualification: bigint } | undefined {
  const what = firstOf(GUEST_CHECKS, entry);
  if (what !== undefined) return { what, qualification: Qualification.OTHERWISE };
  if (isIllegalLink(entry)) return { what: 'the VMCS link pointer', qualification: Qualification.LINK_POINTER };
  if (pdptesOf(entry)?.some(isIllegalPdpte)) return { what: 'a PDPTE', qualification: Qualification.PDPTE };
  return undefined;
}
