/** Checks on the VM-execution, VM-exit and VM-entry control fields: VMfail with error 7 (SDM vol. 3C, 26.2.1). */
import { CONTROL_RANGES, type ControlRange, ExitControl, fixedOnes, Pin, Primary, Secondary } from '../controls.ts';
import { isLegalEptPointer } from '../ept.ts';
import { Interruption, InterruptionType, isOfInstruction, typeOf } from '../events.ts';
import type { NarrowField, WideField } from '../fields.ts';
import { CR3_TARGETS } from '../msrs.ts';
import {
  type Check,
  type Controls,
  Cr0,
  type Entry,
  firstOf,
  has,
  isBeyondPhysical,
  isPage,
  isUnrestricted,
  usesEpt,
} from './state.ts';

/** Of the virtual-APIC page (SDM vol. 3C, 29.1.1). */
export const VIRTUAL_TPR_OFFSET = 0x80;
const MSR_ENTRY_BYTES = 16;
const LONGEST_INSTRUCTION = 15;
const LAST_EXCEPTION = 31;
const NMI_VECTOR = 2;
/** #DF, #TS, #NP, #SS, #GP, #PF, #AC. */
const WITH_ERROR_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17]);

const isOutOf = (range: ControlRange, value: number): boolean =>
  (~value & fixedOnes(range)) !== 0 || (value & ~range.allowed) !== 0;
const primary = (bit: number) => (entry: Entry) => (entry.controls.primary & bit) !== 0;
const secondary = (bit: number) => (entry: Entry) => (entry.controls.secondary & bit) !== 0;
const pin = (bit: number) => (entry: Entry) => (entry.controls.pin & bit) !== 0;
const usesTprShadow = primary(Primary.USE_TPR_SHADOW);

function isIllegalTprThreshold({ vmcs, memory }: Entry): boolean {
  const threshold = vmcs.read('TPR_THRESHOLD');
  if (threshold > 0xf) return true;
  const at = Number(vmcs.read64('VIRTUAL_APIC_ADDRESS')) + VIRTUAL_TPR_OFFSET;
  return at < memory.sizeBytes && threshold > memory.read8(at) >> 4;
}

/** A list of MSRs is on 16 bytes, and all of it has addresses. */
const isIllegalList =
  (countField: NarrowField, addressField: WideField) =>
  ({ vmcs }: Entry): boolean => {
    const count = vmcs.read(countField);
    if (count === 0) return false;
    const address = vmcs.read64(addressField);
    return (
      (address & 0xfn) !== 0n ||
      isBeyondPhysical(address) ||
      isBeyondPhysical(address + BigInt(count * MSR_ENTRY_BYTES - 1))
    );
  };

/** Whether there must be an error code: exceptions that have one, but not in real-address mode. */
function wantsErrorCode(entry: Entry, type: number, vector: number): boolean {
  if (type !== InterruptionType.HARDWARE_EXCEPTION || !WITH_ERROR_CODE.has(vector)) return false;
  return !isUnrestricted(entry) || has(entry.vmcs.read64('GUEST_CR0'), Cr0.PE);
}

function isIllegalInjection(entry: Entry): boolean {
  const { vmcs } = entry;
  const information = vmcs.read('ENTRY_INTERRUPTION_INFORMATION');
  if ((information & Interruption.VALID) === 0) return false;
  const type = typeOf(information);
  const vector = information & Interruption.VECTOR_MASK;
  // NOT IMPLEMENTED: the monitor trap flag, the one event of type OTHER.
  if (type === InterruptionType.RESERVED || type === InterruptionType.OTHER) return true;
  if (type === InterruptionType.NMI && vector !== NMI_VECTOR) return true;
  if (type === InterruptionType.HARDWARE_EXCEPTION && vector > LAST_EXCEPTION) return true;
  const hasErrorCode = (information & Interruption.ERROR_CODE) !== 0;
  if (hasErrorCode !== wantsErrorCode(entry, type, vector) || (information & Interruption.RESERVED) !== 0) return true;
  if (hasErrorCode && vmcs.read('ENTRY_EXCEPTION_ERROR_CODE') >>> 16 !== 0) return true;
  const length = vmcs.read('ENTRY_INSTRUCTION_LENGTH');
  return isOfInstruction(information) && (length === 0 || length > LONGEST_INSTRUCTION);
}

const CONTROL_CHECKS: readonly Check[] = [
  ...(Object.keys(CONTROL_RANGES) as (keyof Controls)[]).map(
    (name): Check => [`a reserved ${name} control`, ({ controls }) => isOutOf(CONTROL_RANGES[name], controls[name])],
  ),
  ['too many CR3 targets', ({ vmcs }) => vmcs.read('CR3_TARGET_COUNT') > CR3_TARGETS],
  [
    'an I/O bitmap that is no page',
    (entry) =>
      primary(Primary.USE_IO_BITMAPS)(entry) &&
      !(isPage(entry.vmcs.read64('IO_BITMAP_A')) && isPage(entry.vmcs.read64('IO_BITMAP_B'))),
  ],
  [
    'MSR bitmaps that are no page',
    (entry) => primary(Primary.USE_MSR_BITMAPS)(entry) && !isPage(entry.vmcs.read64('MSR_BITMAPS')),
  ],
  [
    'a virtual-APIC page that is no page',
    (entry) => usesTprShadow(entry) && !isPage(entry.vmcs.read64('VIRTUAL_APIC_ADDRESS')),
  ],
  ['an illegal TPR threshold', (entry) => usesTprShadow(entry) && isIllegalTprThreshold(entry)],
  ['virtual NMIs without NMI exiting', (entry) => pin(Pin.VIRTUAL_NMIS)(entry) && !pin(Pin.NMI_EXITING)(entry)],
  [
    'NMI-window exiting without virtual NMIs',
    (entry) => primary(Primary.NMI_WINDOW_EXITING)(entry) && !pin(Pin.VIRTUAL_NMIS)(entry),
  ],
  [
    'saving a preemption timer that is off',
    ({ controls }) =>
      (controls.exit & ExitControl.SAVE_PREEMPTION_TIMER) !== 0 && (controls.pin & Pin.PREEMPTION_TIMER) === 0,
  ],
  ['VPID 0', (entry) => secondary(Secondary.ENABLE_VPID)(entry) && entry.vmcs.read('VPID') === 0],
  ['an illegal EPT pointer', (entry) => usesEpt(entry) && !isLegalEptPointer(entry.vmcs.read64('EPT_POINTER'))],
  ['an unrestricted guest without EPT', (entry) => isUnrestricted(entry) && !usesEpt(entry)],
  ['an illegal VM-exit MSR-store list', isIllegalList('EXIT_MSR_STORE_COUNT', 'EXIT_MSR_STORE_ADDRESS')],
  ['an illegal VM-exit MSR-load list', isIllegalList('EXIT_MSR_LOAD_COUNT', 'EXIT_MSR_LOAD_ADDRESS')],
  ['an illegal VM-entry MSR-load list', isIllegalList('ENTRY_MSR_LOAD_COUNT', 'ENTRY_MSR_LOAD_ADDRESS')],
  ['an illegal event to inject', isIllegalInjection],
];

/** Why the controls are refused. */
export const illegalControls = (entry: Entry): string | undefined => firstOf(CONTROL_CHECKS, entry);
