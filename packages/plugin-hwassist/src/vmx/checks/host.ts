/** Checks on the host-state area: VMfail with error 8 (SDM vol. 3C, 26.2.2 to 26.2.4). */
import { EntryControl, ExitControl } from '../controls.ts';
import type { NarrowField, WideField } from '../fields.ts';
import { CR0_FIXED0, CR4_VMXE } from '../msrs.ts';
import {
  type Check,
  Cr4,
  Efer,
  type Entry,
  firstOf,
  has,
  isBeyondPhysical,
  isCanonical,
  isIllegalPat,
  isWide,
} from './state.ts';

const SELECTORS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'TR'] as const;
const BASES = [
  ...(['HOST_FS_BASE', 'HOST_GS_BASE', 'HOST_TR_BASE', 'HOST_GDTR_BASE', 'HOST_IDTR_BASE'] as const),
  ...(['HOST_SYSENTER_ESP', 'HOST_SYSENTER_EIP'] as const),
] as const satisfies readonly WideField[];
/** RPL and TI. */
const SELECTOR_FLAGS = 7;

const hostIsLong = ({ controls }: Entry) => (controls.exit & ExitControl.HOST_ADDRESS_SPACE_SIZE) !== 0;
const guestIsLong = ({ controls }: Entry) => (controls.entry & EntryControl.IA32E_MODE_GUEST) !== 0;

function isIllegalEfer(entry: Entry): boolean {
  const efer = entry.vmcs.read64('HOST_EFER');
  const isLong = hostIsLong(entry);
  return has(efer, ~Efer.KNOWN) || has(efer, Efer.LMA) !== isLong || has(efer, Efer.LME) !== isLong;
}

const HOST_CHECKS: readonly Check[] = [
  ['CR0', ({ vmcs }) => (vmcs.read64('HOST_CR0') & CR0_FIXED0) !== CR0_FIXED0 || isWide(vmcs.read64('HOST_CR0'))],
  ['CR4', ({ vmcs, cr4Bits }) => !has(vmcs.read64('HOST_CR4'), CR4_VMXE) || has(vmcs.read64('HOST_CR4'), ~cr4Bits)],
  ['CR3', ({ vmcs }) => isBeyondPhysical(vmcs.read64('HOST_CR3'))],
  ['a base that is not canonical', ({ vmcs }) => BASES.some((field) => !isCanonical(vmcs.read64(field)))],
  [
    'PAT',
    ({ vmcs, controls }) => (controls.exit & ExitControl.LOAD_PAT) !== 0 && isIllegalPat(vmcs.read64('HOST_PAT')),
  ],
  ['EFER', (entry) => (entry.controls.exit & ExitControl.LOAD_EFER) !== 0 && isIllegalEfer(entry)],
  [
    'RPL or TI of a selector',
    ({ vmcs }) =>
      SELECTORS.some((name) => (vmcs.read(`HOST_${name}_SELECTOR` satisfies NarrowField) & SELECTOR_FLAGS) !== 0),
  ],
  ['a null CS or TR', ({ vmcs }) => vmcs.read('HOST_CS_SELECTOR') === 0 || vmcs.read('HOST_TR_SELECTOR') === 0],
  ['a null SS', (entry) => !hostIsLong(entry) && entry.vmcs.read('HOST_SS_SELECTOR') === 0],
  ['the address-space size is not that of the entry', (entry) => hostIsLong(entry) !== entry.isHostLong],
  ['an IA-32e mode guest of a 32-bit host', (entry) => !hostIsLong(entry) && guestIsLong(entry)],
  ['PCIDs of a 32-bit host', (entry) => !hostIsLong(entry) && has(entry.vmcs.read64('HOST_CR4'), Cr4.PCIDE)],
  ['RIP of a 32-bit host', (entry) => !hostIsLong(entry) && isWide(entry.vmcs.read64('HOST_RIP'))],
  ['CR4.PAE of a 64-bit host', (entry) => hostIsLong(entry) && !has(entry.vmcs.read64('HOST_CR4'), Cr4.PAE)],
  ['RIP of a 64-bit host', (entry) => hostIsLong(entry) && !isCanonical(entry.vmcs.read64('HOST_RIP'))],
];

/** What of the host's state is refused. */
export const illegalHostState = (entry: Entry): string | undefined => firstOf(HOST_CHECKS, entry);
