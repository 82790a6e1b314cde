import { SegmentIndex } from '@polyvisor/plugin-api';
import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest } from '../access.ts';
import type { HypercallArguments, HypercallContext, HypercallHandler, XenVcpu } from '../domain.ts';
import { EFAULT, EINVAL, ENODEV, ENOSYS } from '../errno.ts';
import { FLAT_KERNEL_CS } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { readDebugRegister, writeDebugRegister } from './debugRegisters.ts';
import { setGdt, updateDescriptor } from './descriptors.ts';
import { iret } from './iret.ts';
import { physdevOp } from './physdev.ts';
import { dataSegment, NULL_SEGMENT, setBase } from './segments.ts';

/** struct trap_info (public/arch-x86/xen.h). */
export const TrapInfo = struct({ vector: 'u8', flags: 'u8', cs: 'u16', address: 'word' });
const CR0_TS = 8n;

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** A selector as its RPL must be for a handler of this guest's: not below the level of its kernel (fixup_guest_selector). */
export function kernelSelector(vcpu: XenVcpu, selector: number): number {
  if (!vcpu.ring1) return selector | 3;
  return (selector & 3) === 0 ? selector | 1 : selector;
}

/** HYPERVISOR_set_trap_table(table): entries up to one with address 0; a null pointer clears the table. */
function setTrapTable({ vcpu, wordBytes }: HypercallContext, args: HypercallArguments): bigint {
  if (args[0] === 0n) {
    for (const trap of vcpu.traps) Object.assign(trap, { address: 0n, cs: 0, flags: 0 });
    return 0n;
  }
  const { sizeBytes, at } = TrapInfo[wordBytes];
  // The list ends itself; more entries than vectors cannot be meant.
  for (let index = 0; index <= vcpu.traps.length; index++) {
    const entry = copyFromGuest(vcpu, args[0] + BigInt(index * sizeBytes), sizeBytes);
    if (entry === undefined) return EFAULT;
    const address = readWord(entry, at.address, wordBytes);
    if (address === 0n) return 0n;
    if (!isCanonical(address)) return EINVAL;
    const trap = vcpu.traps[entry.getUint8(at.vector)];
    trap.flags = entry.getUint8(at.flags);
    trap.cs = kernelSelector(vcpu, entry.getUint16(at.cs, true));
    trap.address = address;
  }
  return EINVAL;
}

/** HYPERVISOR_stack_switch(ss, rsp): the stack for entries from user mode. */
function stackSwitch({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  vcpu.kernelSs = kernelSelector(vcpu, Number(args[0] & 0xffffn));
  vcpu.kernelRsp = args[1];
  return 0n;
}

/** CALLBACKTYPE_* (public/callback.h). */
const CallbackType = { EVENT: 0, FAILSAFE: 1, SYSCALL: 2, NMI: 4, SYSENTER: 5, SYSCALL32: 7 } as const;
const CALLBACK_MASKS_EVENTS = 1;
const CALLBACKOP_REGISTER = 0n;
const CALLBACKOP_UNREGISTER = 1n;
const VECTOR_NMI = 2;
const TRAP_MASKS_EVENTS = 4;

interface Callback {
  readonly type: number;
  readonly flags: number;
  readonly cs: number;
  readonly address: bigint;
}

function registerCallback(vcpu: XenVcpu, { type, flags, cs: selector, address }: Callback): bigint {
  if (!isCanonical(address)) return EINVAL;
  const { callbacks } = vcpu;
  const masks = (flags & CALLBACK_MASKS_EVENTS) !== 0;
  const cs = vcpu.ring1 ? kernelSelector(vcpu, selector) : FLAT_KERNEL_CS;
  // As in Xen: a 32-bit guest's SYSCALL is SYSCALL32.
  if (vcpu.ring1 && type === CallbackType.SYSCALL) return ENOSYS;
  switch (type) {
    case CallbackType.EVENT:
      callbacks.event = address;
      callbacks.eventCs = cs;
      return 0n;
    case CallbackType.FAILSAFE:
      callbacks.failsafe = address;
      callbacks.failsafeCs = cs;
      callbacks.failsafeMasksEvents = masks;
      return 0n;
    case CallbackType.SYSCALL:
      callbacks.syscall = address;
      callbacks.syscallMasksEvents = masks;
      return 0n;
    case CallbackType.SYSCALL32:
      callbacks.syscall32 = address;
      callbacks.syscall32Cs = cs;
      callbacks.syscall32MasksEvents = masks;
      return 0n;
    case CallbackType.SYSENTER:
      callbacks.sysenter = address;
      callbacks.sysenterCs = cs;
      callbacks.sysenterMasksEvents = masks;
      return 0n;
    case CallbackType.NMI:
      callbacks.nmi = address;
      Object.assign(vcpu.traps[VECTOR_NMI], { address, cs, flags: TRAP_MASKS_EVENTS });
      return 0n;
    default:
      return ENOSYS;
  }
}

function unregisterCallback(vcpu: XenVcpu, type: number): bigint {
  if (type === CallbackType.NMI) {
    vcpu.callbacks.nmi = 0n;
    Object.assign(vcpu.traps[VECTOR_NMI], { address: 0n, cs: 0, flags: 0 });
    return 0n;
  }
  const known: readonly number[] = Object.values(CallbackType);
  return known.includes(type) ? EINVAL : ENOSYS;
}

/** struct callback_register (public/callback.h): a 32-bit guest's address is a selector and an offset. */
const Register64 = struct({ type: 'u16', flags: 'u16', address: 'word' })[8];
const Register32 = struct({ type: 'u16', flags: 'u16', cs: 'word', address: 'word' })[4];

/** HYPERVISOR_callback_op(cmd, struct). */
function callbackOp({ vcpu, wordBytes }: HypercallContext, args: HypercallArguments): bigint {
  if (args[0] === CALLBACKOP_REGISTER) {
    const { sizeBytes, at } = wordBytes === 8 ? Register64 : Register32;
    const entry = copyFromGuest(vcpu, args[1], sizeBytes);
    if (entry === undefined) return EFAULT;
    return registerCallback(vcpu, {
      type: entry.getUint16(at.type, true),
      flags: entry.getUint16(at.flags, true),
      cs: wordBytes === 8 ? 0 : entry.getUint32(Register32.at.cs, true) & 0xffff,
      address: readWord(entry, at.address, wordBytes),
    });
  }
  if (args[0] === CALLBACKOP_UNREGISTER) {
    const entry = copyFromGuest(vcpu, args[1], 4);
    return entry === undefined ? EFAULT : unregisterCallback(vcpu, entry.getUint16(0, true));
  }
  return ENOSYS;
}

/**
 * HYPERVISOR_set_callbacks(event, failsafe, syscall), of a 32-bit guest (event selector, event, failsafe selector,
 * failsafe); errors are not reported, as in Xen.
 */
function setCallbacks({ vcpu, wordBytes }: HypercallContext, args: HypercallArguments): bigint {
  const register = (type: number, cs: bigint, address: bigint) =>
    registerCallback(vcpu, { type, flags: 0, cs: Number(cs & 0xffffn), address });
  if (wordBytes === 4) {
    register(CallbackType.EVENT, args[0], args[1]);
    register(CallbackType.FAILSAFE, args[2], args[3]);
    return 0n;
  }
  register(CallbackType.EVENT, 0n, args[0]);
  register(CallbackType.FAILSAFE, 0n, args[1]);
  register(CallbackType.SYSCALL, 0n, args[2]);
  return 0n;
}

/** HYPERVISOR_fpu_taskswitch(set): virtual CR0.TS. */
function fpuTaskswitch({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  setTaskSwitched(vcpu, args[0] !== 0n);
  return 0n;
}

export function setTaskSwitched(vcpu: XenVcpu, on: boolean): void {
  if (vcpu.taskSwitched === on) return;
  vcpu.taskSwitched = on;
  vcpu.cpu.cr0 = on ? vcpu.cpu.cr0 | CR0_TS : vcpu.cpu.cr0 & ~CR0_TS;
}

/** SEGBASE_* (public/arch-x86/xen-x86_64.h). */
const SegmentBase = { FS: 0n, GS_USER: 1n, GS_KERNEL: 2n, GS_USER_SELECTOR: 3n } as const;

/** HYPERVISOR_set_segment_base(which, base), called in guest kernel mode: the user's GS waits in KernelGSbase. */
function setSegmentBase({ domain, vcpu }: HypercallContext, args: HypercallArguments): bigint {
  if (vcpu.ring1) return ENOSYS;
  const which = args[0];
  const base = args[1];
  if (which === SegmentBase.GS_USER_SELECTOR) {
    const raw = Number(base & 0xffffn);
    const segment = dataSegment(domain, vcpu, raw > 3 ? raw | 3 : raw) ?? NULL_SEGMENT;
    vcpu.cpu.kernelGsBase = segment.base;
    const { base: kernelBase } = vcpu.cpu.segment(SegmentIndex.GS);
    vcpu.cpu.setSegment(SegmentIndex.GS, { ...segment, base: kernelBase });
    return 0n;
  }
  if (!isCanonical(base)) return EINVAL;
  if (which === SegmentBase.FS) setBase(vcpu, SegmentIndex.FS, base);
  else if (which === SegmentBase.GS_USER) vcpu.cpu.kernelGsBase = base;
  else if (which === SegmentBase.GS_KERNEL) setBase(vcpu, SegmentIndex.GS, base);
  else return EINVAL;
  return 0n;
}

function setDebugreg({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  return args[0] > 7n ? ENODEV : writeDebugRegister(vcpu, Number(args[0]), args[1]);
}

function getDebugreg({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  return (args[0] > 7n ? undefined : readDebugRegister(vcpu, Number(args[0]))) ?? ENODEV;
}

/** The calls of this room, by number (public/xen.h). */
export function cpuHypercalls(domain: PvDomain): readonly (readonly [number, HypercallHandler])[] {
  return [
    [0, setTrapTable],
    [2, (context, args) => setGdt(domain, context, args)],
    [3, stackSwitch],
    [4, setCallbacks],
    [5, fpuTaskswitch],
    [8, setDebugreg],
    [9, getDebugreg],
    [10, (context, args) => updateDescriptor(domain, context, args)],
    [23, iret],
    [25, setSegmentBase],
    [30, callbackOp],
    [33, physdevOp],
  ];
}
