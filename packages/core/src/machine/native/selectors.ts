import type { Segment } from '@polyvisor/plugin-api';
import { Flag } from '../../isa/flags.ts';
import type { MachineVcpu } from '../vcpu.ts';
import { type NativeFault, Vector } from './answer.ts';
import { type Native, number, value, writeGpr } from './context.ts';
import { dplOf, isFault, loadDataSegment, readDescriptor } from './segments.ts';

const RIGHTS_S = 1 << 4;
const TYPE_CODE = 8;
const TYPE_CONFORMING = 4;
/** Readable code, writable data. */
const TYPE_RW = 2;
/** System descriptors that LAR and LSL accept in IA-32e mode: LDT, TSS available and busy; LAR call gates too (SDM vol. 2A). */
const HAS_LIMIT: ReadonlySet<number> = new Set([2, 9, 11]);
const HAS_RIGHTS: ReadonlySet<number> = new Set([...HAS_LIMIT, 12]);

/** The descriptor if it exists and this level may use it; undefined: ZF is cleared. Page faults of its table are raised. */
function visible(vcpu: MachineVcpu, selector: number, types: ReadonlySet<number>): Segment | NativeFault | undefined {
  if ((selector & 0xfffc) === 0) return undefined;
  const segment = readDescriptor(vcpu, selector);
  if (isFault(segment)) return segment.vector === Vector.PF ? segment : undefined;
  const { accessRights } = segment;
  if (!(accessRights & RIGHTS_S) && !types.has(accessRights & 15)) return undefined;
  const conforming = (accessRights & 0x1c) === (RIGHTS_S | TYPE_CODE | TYPE_CONFORMING);
  return conforming || dplOf(segment) >= Math.max(vcpu.cpl, selector & 3) ? segment : undefined;
}

function setZeroFlag(vcpu: MachineVcpu, on: boolean): void {
  const flag = BigInt(Flag.ZF);
  vcpu.rflags = on ? vcpu.rflags | flag : vcpu.rflags & ~flag;
}

/** LAR and LSL. */
function examine(types: ReadonlySet<number>, resultOf: (segment: Segment) => number): Native {
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
    const segment = visible(vcpu, number(context, 0) & 0xffff, new Set());
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
