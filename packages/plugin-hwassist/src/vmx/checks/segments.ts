/** Checks on the guest's segment registers (SDM vol. 3C, 26.3.1.2). */
import type { Segment } from '@polyvisor/plugin-api';
import type { VmcsSegment } from '../fields.ts';
import { Cr0, type Entry, has, isCanonical, isLongGuest, isUnrestricted, isWide, Rflags } from './state.ts';

/** Bits of access rights (24.4.1). */
export const Rights = {
  ...{
    TYPE_MASK: 0xf,
    ACCESSED: 1,
    S: 1 << 4,
    DPL_SHIFT: 5,
    P: 1 << 7,
    L: 1 << 13,
    DB: 1 << 14,
    G: 1 << 15,
    UNUSABLE: 1 << 16,
  },
} as const;
const RESERVED_RIGHTS = 0xfffe_0f00;
/** Of {@link Rights.TYPE_MASK}, of code and data. */
const Type = { ACCESSED: 1, READABLE: 2, CODE: 8, WRITABLE_ACCESSED: 3, EXPAND_DOWN_ACCESSED: 7 } as const;
const [NON_CONFORMING, NON_CONFORMING_READABLE, CONFORMING, CONFORMING_READABLE] = [9, 11, 13, 15];
const SystemType = { LDT: 2, BUSY_TSS16: 3, BUSY_TSS: 11 } as const;
const SELECTOR_TI = 4;
const SELECTOR_RPL = 3;
const PAGE_MASK = 0xfff;

const typeOf = ({ accessRights }: Segment) => accessRights & Rights.TYPE_MASK;
const dplOf = ({ accessRights }: Segment) => (accessRights >>> Rights.DPL_SHIFT) & 3;
const rplOf = ({ selector }: Segment) => selector & SELECTOR_RPL;
const isUsable = ({ accessRights }: Segment) => (accessRights & Rights.UNUSABLE) === 0;
const isWithin = (limit: number, granular: boolean): boolean =>
  granular ? (limit & PAGE_MASK) === PAGE_MASK : limit >>> 20 === 0;
/** P, reserved bits, and whether G and the limit agree: what all usable segments are held to. */
const isIllegal = ({ accessRights, limit }: Segment): boolean =>
  (accessRights & Rights.P) === 0 ||
  (accessRights & RESERVED_RIGHTS) !== 0 ||
  !isWithin(limit, (accessRights & Rights.G) !== 0);
const isSystem = ({ accessRights }: Segment) => (accessRights & Rights.S) === 0;

/** Segments as virtual-8086 mode has them. */
const VIRTUAL_8086 = { RIGHTS: 0xf3, LIMIT: 0xffff } as const;
const isIllegalInVirtual8086 = ({ selector, base, limit, accessRights }: Segment): boolean =>
  base !== BigInt(selector << 4) || limit !== VIRTUAL_8086.LIMIT || accessRights !== VIRTUAL_8086.RIGHTS;

function isIllegalCode(code: Segment, stack: Segment, entry: Entry): boolean {
  if (isIllegal(code) || isSystem(code) || isWide(code.base)) return true;
  if (isLongGuest(entry) && code.accessRights & Rights.L && code.accessRights & Rights.DB) return true;
  switch (typeOf(code)) {
    case Type.WRITABLE_ACCESSED:
      return !isUnrestricted(entry) || dplOf(code) !== 0;
    case NON_CONFORMING:
    case NON_CONFORMING_READABLE:
      return dplOf(code) !== dplOf(stack);
    case CONFORMING:
    case CONFORMING_READABLE:
      return dplOf(code) > dplOf(stack);
    default:
      return true;
  }
}

function isIllegalStack(stack: Segment, code: Segment, entry: Entry): boolean {
  const type = typeOf(stack);
  if (isUsable(stack)) {
    if (type !== Type.WRITABLE_ACCESSED && type !== Type.EXPAND_DOWN_ACCESSED) return true;
    if (isIllegal(stack) || isSystem(stack) || isWide(stack.base)) return true;
  }
  if (!isUnrestricted(entry) && (rplOf(stack) !== rplOf(code) || dplOf(stack) !== rplOf(stack))) return true;
  const isReal = typeOf(code) === Type.WRITABLE_ACCESSED || !has(entry.vmcs.read64('GUEST_CR0'), Cr0.PE);
  return isReal && dplOf(stack) !== 0;
}

function isIllegalData(data: Segment, entry: Entry): boolean {
  if (!isUsable(data)) return false;
  const type = typeOf(data);
  if (isIllegal(data) || isSystem(data) || (type & Type.ACCESSED) === 0) return true;
  if ((type & Type.CODE) !== 0 && (type & Type.READABLE) === 0) return true;
  return !isUnrestricted(entry) && type <= NON_CONFORMING_READABLE && dplOf(data) < rplOf(data);
}

function isIllegalTask(task: Segment, entry: Entry): boolean {
  const type = typeOf(task);
  const isBusy = type === SystemType.BUSY_TSS || (type === SystemType.BUSY_TSS16 && !isLongGuest(entry));
  return (
    !isUsable(task) ||
    !isBusy ||
    !isSystem(task) ||
    isIllegal(task) ||
    (task.selector & SELECTOR_TI) !== 0 ||
    !isCanonical(task.base)
  );
}

const isIllegalLdt = (ldt: Segment): boolean =>
  isUsable(ldt) &&
  (typeOf(ldt) !== SystemType.LDT ||
    !isSystem(ldt) ||
    isIllegal(ldt) ||
    (ldt.selector & SELECTOR_TI) !== 0 ||
    !isCanonical(ldt.base));

const CODE_AND_DATA = ['CS', 'SS', 'DS', 'ES', 'FS', 'GS'] as const satisfies readonly VmcsSegment[];

/** Which segment register VM entry refuses. */
export function illegalSegment(entry: Entry): VmcsSegment | undefined {
  const { vmcs } = entry;
  if (isIllegalTask(vmcs.segment('TR'), entry)) return 'TR';
  if (isIllegalLdt(vmcs.segment('LDTR'))) return 'LDTR';
  if (has(vmcs.read64('GUEST_RFLAGS'), Rflags.VM)) {
    return CODE_AND_DATA.find((name) => isIllegalInVirtual8086(vmcs.segment(name)));
  }
  const [code, stack] = [vmcs.segment('CS'), vmcs.segment('SS')];
  if (isIllegalCode(code, stack, entry)) return 'CS';
  if (isIllegalStack(stack, code, entry)) return 'SS';
  for (const name of ['DS', 'ES'] as const) {
    const data = vmcs.segment(name);
    if (isIllegalData(data, entry) || (isUsable(data) && isWide(data.base))) return name;
  }
  for (const name of ['FS', 'GS'] as const) {
    const data = vmcs.segment(name);
    if (isIllegalData(data, entry) || !isCanonical(data.base)) return name;
  }
  return undefined;
}
