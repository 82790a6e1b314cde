import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeFault, Vector } from './answer.ts';
import { type Native, number, value, writeGpr } from './context.ts';
import { dplOf, isFault, readDescriptor } from './descriptors.ts';
import { isLongMode } from './mode.ts';
import { loadDataSegment } from './segments.ts';

const RIGHTS_S = 1 << 4;
const TYPE_CODE = 8;
const TYPE_CONFORMING = 4;
/** Readable code, writable data. */
const TYPE_RW = 2;
/** System descriptors that LSL accepts: LDT, TSS available and busy; LAR gates too (SDM vol. 2A, tables 3-54 and 3-61). */
interface Types {
  readonly long: readonly number[];
  readonly legacy: readonly number[];
}
const HAS_LIMIT: Types = { long: [2, 9, 11], legacy: [1, 2, 3, 9, 11] };
const HAS_RIGHTS: Types = { long: [2, 9, 11, 12], legacy: [1, 2, 3, 4, 5, 9, 11, 12] };
const NO_SYSTEM_TYPES: Types = { long: [], legacy: [] };

/** The descriptor if it exists and this level may use it; undefined: ZF is cleared. Page faults of its table are raised. */
function visible(vcpu: MachineVcpu, selector: number, types: Types): Segment | NativeFault | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : undefined;
  const { accessRights } = segment;
  if (!(accessRights & RIGHTS_S) && !types[isLongMode(vcpu) ? 'long' : 'legacy'].includes(accessRights & 15))
    return undefined;
  const conforming = (accessRights & 0x1c) === (RIGHTS_S | TYPE_CODE | TYPE_CONFORMING);
  return conforming || dplOf(segment) >= Math.max(vcpu.cpl, selector & 3) ? segment : undefined;
}

function setZeroFlag(vcpu: MachineVcpu, on: boolean): void {
  const flag = BigInt(Flag.ZF);
  vcpu.rflags = on ? vcpu.rflags | flag : vcpu.rflags & ~flag;
}

/** LAR and LSL. */
function examine(types: Types, resultOf: (segment: Segment) => number): Native {
  return (context) => {
    const { vcpu } = context;
    const segment = visible(vcpu, number(context, 0) & 0xffff, types);
    if (segment && isFault(segment)) return segment;
    setZeroFlag(vcpu, segment !== undefined);
    if (segment) writeGpr(vcpu, number(context, 1), number(context, 2), BigInt(resultOf(segment) >>> 0));
    return 'next';
  };
}
/** Access rights at the places they have in a descriptor's second word. */
export const loadAccessRights = examine(HAS_RIGHTS, ({ accessRights }) => (accessRights & 0xf0ff) << 8);
export const loadLimit = examine(HAS_LIMIT, ({ limit }) => limit);

/** VERR and VERW. */
export const verify =
  (access: 'read' | 'write'): Native =>
  (context) => {
    const { vcpu } = context;
    const segment = visible(vcpu, number(context, 0) & 0xffff, NO_SYSTEM_TYPES);
    if (segment && isFault(segment)) return segment;
    const rights = segment?.accessRights ?? 0;
    const isCode = (rights & TYPE_CODE) !== 0;
    const allowed = access === 'read' ? !isCode || (rights & TYPE_RW) !== 0 : !isCode && (rights & TYPE_RW) !== 0;
    setZeroFlag(vcpu, segment !== undefined && allowed);
    return 'next';
  };

/** LDS, LES, LSS, LFS, LGS: the general register is written only when the segment has been loaded. */
export const loadFarPointer: Native = (context) => {
  const { vcpu } = context;
  const fault = loadDataSegment(vcpu, number(context, 0), number(context, 1) & 0xffff);
  if (fault) return fault;
  writeGpr(vcpu, number(context, 3), number(context, 4), value(context, 2));
  return 'next';
};
