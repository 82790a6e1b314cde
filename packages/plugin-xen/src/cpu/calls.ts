import { SegmentIndex } from '@polyvisor/plugin-api';
import { copyFromGuest, isGuestAddress } from '../access.ts';
import type { HypercallArguments, HypercallContext, HypercallHandler, XenVcpu } from '../domain.ts';
import { EFAULT, EINVAL, ENODEV, ENOSYS, EPERM } from '../errno.ts';
import { FLAT_KERNEL_CS } from '../layout.ts';
import type { PvDomain } from '../pvDomain.ts';
import { setGdt, updateDescriptor } from './descriptors.ts';
import { iret } from './iret.ts';
import { physdevOp } from './physdev.ts';
import { dataSegment, NULL_SEGMENT, setBase } from './segments.ts';

const TRAP_INFO_BYTES = 16;
const CR0_TS = 8n;

function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === address;
}

/** HYPERVISOR_set_trap_table(table): entries up to one with address 0; a null pointer clears the table. */
function setTrapTable({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  if (args[0] === 0n) {
    for (const trap of vcpu.traps) Object.assign(trap, { address: 0n, cs: 0, flags: 0 });
    return 0n;
  }
  // The list ends itself; more entries than vectors cannot be meant.
  for (let index = 0; index <= vcpu.traps.length; index++) {
    const entry = copyFromGuest(vcpu, args[0] + BigInt(index * TRAP_INFO_BYTES), TRAP_INFO_BYTES);
    if (entry === undefined) return EFAULT;
    const address = entry.getBigUint64(8, true);
    if (address === 0n) return 0n;
    if (!isCanonical(address)) return EINVAL;
    const trap = vcpu.traps[entry.getUint8(0)];
    trap.flags = entry.getUint8(1);
    trap.cs = entry.getUint16(2, true) | 3;
    trap.address = address;
  }
  return EINVAL;
}

/** HYPERVISOR_stack_switch(ss, rsp): the stack for entries from user mode. */
function stackSwitch({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  vcpu.kernelSs = Number(args[0] & 0xffffn) | 3;
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

function registerCallback(vcpu: XenVcpu, type: number, flags: number, address: bigint): bigint {
  if (!isCanonical(address)) return EINVAL;
  const { callbacks } = vcpu;
  const masks = (flags & CALLBACK_MASKS_EVENTS) !== 0;
  switch (type) {
    case CallbackType.EVENT:
      callbacks.event = address;
      return 0n;
    case CallbackType.FAILSAFE:
      callbacks.failsafe = address;
      callbacks.failsafeMasksEvents = masks;
      return 0n;
    case CallbackType.SYSCALL:
      callbacks.syscall = address;
      callbacks.syscallMasksEvents = masks;
      return 0n;
    case CallbackType.SYSCALL32:
      callbacks.syscall32 = address;
      callbacks.syscall32MasksEvents = masks;
      return 0n;
    case CallbackType.SYSENTER:
      callbacks.sysenter = address;
      callbacks.sysenterMasksEvents = masks;
      return 0n;
    case CallbackType.NMI:
      callbacks.nmi = address;
      Object.assign(vcpu.traps[VECTOR_NMI], { address, cs: FLAT_KERNEL_CS, flags: TRAP_MASKS_EVENTS });
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

/** HYPERVISOR_callback_op(cmd, {u16 type, u16 flags, u64 address}). */
function callbackOp({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  if (args[0] === CALLBACKOP_REGISTER) {
    const entry = copyFromGuest(vcpu, args[1], 16);
    if (entry === undefined) return EFAULT;
    return registerCallback(vcpu, entry.getUint16(0, true), entry.getUint16(2, true), entry.getBigUint64(8, true));
  }
  if (args[0] === CALLBACKOP_UNREGISTER) {
    const entry = copyFromGuest(vcpu, args[1], 4);
    return entry === undefined ? EFAULT : unregisterCallback(vcpu, entry.getUint16(0, true));
  }
  return ENOSYS;
}

/** HYPERVISOR_set_callbacks(event, failsafe, syscall); errors are not reported, as in Xen. */
function setCallbacks({ vcpu }: HypercallContext, args: HypercallArguments): bigint {
  registerCallback(vcpu, CallbackType.EVENT, 0, args[0]);
  registerCallback(vcpu, CallbackType.FAILSAFE, 0, args[1]);
  registerCallback(vcpu, CallbackType.SYSCALL, 0, args[2]);
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

const CR4_DE = 8n;
const DR7_GENERAL_DETECT = 1n << 13n;
const DR6_FIXED = 0xffff_0ff0n;
const DR7_FIXED = 0x400n;
const DR7_RESERVED = 0xd800n;

/**
 * Set a virtual debug register: 0, -ENODEV (no such register), -EINVAL or -EPERM.
 * NOT IMPLEMENTED: hardware breakpoints; the value is kept and read back, but never matches.
 */
export function writeDebugRegister(vcpu: XenVcpu, register: number, value: bigint): bigint {
  if (register > 7) return ENODEV;
  if ((register === 4 || register === 5) && (vcpu.cr4 & CR4_DE) !== 0n) return ENODEV;
  if (register <= 3) {
    if (!isGuestAddress(value)) return EPERM;
    vcpu.debugRegisters[register] = value;
    return 0n;
  }
  if (value > 0xffff_ffffn) return EINVAL;
  if (register === 4 || register === 6) {
    vcpu.debugRegisters[6] = value | DR6_FIXED;
    return 0n;
  }
  if ((value & DR7_GENERAL_DETECT) !== 0n) return EPERM;
  vcpu.debugRegisters[7] = (value & ~DR7_RESERVED) | DR7_FIXED;
  return 0n;
}

/** A virtual debug register, or `undefined` when there is none of that number. */
export function readDebugRegister(vcpu: XenVcpu, register: number): bigint | undefined {
  if (register > 7) return undefined;
  if (register !== 4 && register !== 5) return vcpu.debugRegisters[register];
  return (vcpu.cr4 & CR4_DE) !== 0n ? undefined : vcpu.debugRegisters[register + 2];
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
