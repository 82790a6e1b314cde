import { SEGMENT_BASE, SEGMENT_LIMIT } from '../../cpu/state.ts';
import { Flag } from '../../isa/flags.ts';
import { AccessRights } from '../cpu-mode.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { baseOf, limitOf, readGdtWords, rightsOf } from './descriptors.ts';
import { changeableFlags } from './flags.ts';

const GPR_RSP = 4;
const CS = 1;
const SS = 2;
const LDT_SELECTOR = 4;
/** Type, S, P of access rights: P set, code that is not conforming; P set, data that can be written and expands up or down. */
const CODE = { MASK: 0x9c, VALUE: 0x98 } as const;
const WRITABLE_DATA = { MASK: 0x9a, VALUE: 0x92 } as const;

/** RIP, CS, RFLAGS, RSP, SS in halves. */
const frame = new Int32Array(10);
const descriptor = new Int32Array(2);

/**
 * The common case of a 64-bit IRET in 64-bit mode: to the same level, with the CS and SS that are loaded and whose
 * descriptors say what is loaded (SDM vol. 2A, IRET). False: it is another case, or faults, and nothing has changed.
 */
export function returnToSameLevel(vcpu: MachineVcpu): boolean {
  const { gprHalves, eflags } = vcpu;
  if (vcpu.engine.mode !== 'long64' || eflags & (Flag.NT | Flag.VM)) return false;
  if (!vcpu.readWords(gprHalves[2 * GPR_RSP], gprHalves[2 * GPR_RSP + 1], frame, frame.length)) return false;
  const [ripLow, ripHigh] = frame;
  const isCanonical = (ripHigh << 16) >> 16 === ripHigh;
  if (
    !isCanonical ||
    !isLoaded(vcpu, CS, frame[2] & 0xffff, CODE) ||
    !isLoaded(vcpu, SS, frame[8] & 0xffff, WRITABLE_DATA)
  )
    return false;
  if ((vcpu.accessRights(CS) & (AccessRights.L | AccessRights.DB)) !== AccessRights.L) return false;
  vcpu.setRip(ripLow, ripHigh);
  gprHalves[2 * GPR_RSP] = frame[6];
  gprHalves[2 * GPR_RSP + 1] = frame[7];
  const changeable = changeableFlags(eflags, vcpu.cpl, 64);
  vcpu.eflags = (eflags & ~changeable) | (frame[4] & changeable) | 2;
  return true;
}

/** The register holds this selector of the current level, its descriptor is of the kind asked for, and is what is loaded. */
function isLoaded(
  vcpu: MachineVcpu,
  register: number,
  selector: number,
  kind: { MASK: number; VALUE: number },
): boolean {
  const { cpl } = vcpu;
  if (selector !== vcpu.selector(register) || (selector & 3) !== cpl || selector & LDT_SELECTOR) return false;
  if (selector < 4 || (selector | 7) > vcpu.tables.gdtr.limit) return false;
  if (!readGdtWords(vcpu, selector & ~7, descriptor)) return false;
  const [low, high] = descriptor;
  const rights = rightsOf(high);
  if ((rights & kind.MASK) !== kind.VALUE || ((rights >> 5) & 3) !== cpl) return false;
  // The base of CS counts as 0 in 64-bit mode and is kept so.
  const base = register === CS ? 0 : baseOf(low, high);
  return (
    rights === vcpu.accessRights(register) &&
    limitOf(low, high) === vcpu.slot32(SEGMENT_LIMIT[register]) >>> 0 &&
    base === vcpu.slotHalf(SEGMENT_BASE[register], 0) &&
    vcpu.slotHalf(SEGMENT_BASE[register], 1) === 0
  );
}
