import { VcpuInfo } from '../abi/sharedPages.ts';
import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest, copyToGuest, vcpuById } from '../access.ts';
import { guestContextBytes, initialiseVcpu } from '../cpu/context.ts';
import type { HypercallContext, HypercallHandler, XenDomain, XenVcpu } from '../domain.ts';
import { EEXIST, EFAULT, EINVAL, ENOENT, ENOSYS, ENXIO, ETIME } from '../errno.ts';
import type { EventChannels } from '../events/eventChannels.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import type { GuestTime } from '../time/guestTime.ts';
import type { VcpuTimers } from '../time/vcpuTimers.ts';
import type { Blocking } from './blocking.ts';
import type { Runstates } from './runstate.ts';
import type { Shutdown } from './shutdown.ts';

/** VCPUOP_* (public/vcpu.h). */
const VcpuOp = {
  INITIALISE: 0,
  UP: 1,
  DOWN: 2,
  IS_UP: 3,
  GET_RUNSTATE_INFO: 4,
  REGISTER_RUNSTATE_AREA: 5,
  SET_PERIODIC_TIMER: 6,
  STOP_PERIODIC_TIMER: 7,
  SET_SINGLESHOT_TIMER: 8,
  STOP_SINGLESHOT_TIMER: 9,
  REGISTER_VCPU_INFO: 10,
  SEND_NMI: 11,
  GET_PHYSID: 12,
  REGISTER_TIME_AREA: 13,
} as const;

/** struct vcpu_set_singleshot_timer (public/vcpu.h). */
const Singleshot = struct({ timeoutNs: 'u64', flags: 'u32' });
/** VCPU_SSHOTTMR_future: refuse a deadline that has passed. */
const SINGLESHOT_FUTURE = 1;
const PAGE_BYTES = 4096;
const SHUTDOWN_POWEROFF = 0;

export interface VcpuParts {
  readonly events: EventChannels;
  readonly blocking: Blocking;
  readonly runstates: Runstates;
  readonly time: GuestTime;
  readonly timers: VcpuTimers;
  readonly shutdown: Shutdown;
}

/** What every operation gets: the vCPU it is about, and the pointer to its structure. */
interface Request {
  readonly context: HypercallContext;
  readonly parts: VcpuParts;
  readonly target: XenVcpu;
  readonly pointer: bigint;
}

/** By VCPUOP_* number. */
const OPERATIONS: Readonly<Record<number, (request: Request) => bigint>> = {
  [VcpuOp.INITIALISE]: initialise,
  [VcpuOp.UP]: ({ target, parts }) => {
    if (!target.initialised) return EINVAL;
    parts.blocking.up(target);
    return 0n;
  },
  [VcpuOp.DOWN]: down,
  [VcpuOp.IS_UP]: ({ target }) => (target.cpu.offline ? 0n : 1n),
  [VcpuOp.GET_RUNSTATE_INFO]: ({ context, parts, target, pointer }) =>
    copyToGuest(context.vcpu, pointer, parts.runstates.image(target, context.wordBytes)) ? 0n : EFAULT,
  [VcpuOp.REGISTER_RUNSTATE_AREA]: (request) =>
    withAddress(request, (gva) => request.parts.runstates.register(request.target, gva, request.context.wordBytes)),
  [VcpuOp.SET_PERIODIC_TIMER]: ({ context, parts, target, pointer }) => {
    const view = copyFromGuest(context.vcpu, pointer, 8);
    return view === undefined ? EFAULT : parts.timers.setPeriodic(target, view.getBigUint64(0, true));
  },
  [VcpuOp.STOP_PERIODIC_TIMER]: ({ parts, target }) => {
    parts.timers.stopPeriodic(target);
    return 0n;
  },
  [VcpuOp.SET_SINGLESHOT_TIMER]: setSingleshot,
  [VcpuOp.STOP_SINGLESHOT_TIMER]: ({ context, parts, target }) => {
    if (target !== context.vcpu) return EINVAL;
    parts.timers.stopSingleshot(target);
    return 0n;
  },
  [VcpuOp.REGISTER_VCPU_INFO]: registerVcpuInfo,
  [VcpuOp.SEND_NMI]: ({ parts, target, pointer }) => {
    if (pointer !== 0n) return EINVAL;
    target.nmiPending = true;
    parts.blocking.unblock(target);
    return 0n;
  },
  // Only for a domain whose vCPUs are pinned to physical CPUs.
  [VcpuOp.GET_PHYSID]: () => EINVAL,
  [VcpuOp.REGISTER_TIME_AREA]: (request) =>
    withAddress(request, (gva) => request.parts.time.register(request.target, gva)),
};

/**
 * vcpu_op (24).
 *
 * NOTES: the operations stand in OPERATIONS above. Taking the last vCPU down powers the domain off. Areas are
 * registered by virtual address and written whenever what they show changes; a bad address is not an error then.
 * NOT IMPLEMENTED: the registrations by physical address (14, 15), which features do not offer.
 * IN: cmd, vCPU number, pointer to the operation's structure.
 * OUT: 0 (is_up: 0 or 1) or a negative errno; -ENOENT for a vCPU that does not exist.
 */
export function vcpuOp(parts: VcpuParts): HypercallHandler {
  return (context, args) => {
    const cmd = Number(BigInt.asUintN(32, args[0]));
    const target = vcpuById(context.domain, BigInt.asUintN(32, args[1]));
    if (target === undefined) return ENOENT;
    const operation = OPERATIONS[cmd];
    if (operation === undefined) return notImplemented(context, 'vcpu_op', cmd, ENOSYS);
    return operation({ context, parts, target, pointer: args[2] });
  };
}

/** A union of a guest handle and a 64-bit address: the handle counts. */
function withAddress({ context, pointer }: Request, use: (gva: bigint) => void): bigint {
  const view = copyFromGuest(context.vcpu, pointer, 8);
  if (view === undefined) return EFAULT;
  use(readWord(view, 0, context.wordBytes));
  return 0n;
}

/** struct vcpu_guest_context → the vCPU's start state; it stays down until VCPUOP_up. */
function initialise({ context, target, pointer }: Request): bigint {
  const view = copyFromGuest(context.vcpu, pointer, guestContextBytes(context.wordBytes));
  if (view === undefined) return EFAULT;
  if (target.initialised) return EEXIST;
  return initialiseVcpu(context, target, view);
}

function down({ context, parts, target }: Request): bigint {
  takeDown(context.domain, parts, target);
  return 0n;
}

/** Take a vCPU down; with the last one the domain powers off. */
export function takeDown(
  domain: XenDomain,
  { blocking, shutdown }: Pick<VcpuParts, 'blocking' | 'shutdown'>,
  target: XenVcpu,
): void {
  const others = domain.vcpus.some((vcpu) => vcpu !== target && !vcpu.cpu.offline);
  if (others) blocking.down(target);
  else shutdown.now(target, SHUTDOWN_POWEROFF);
}

function setSingleshot({ context, parts, target, pointer }: Request): bigint {
  if (target !== context.vcpu) return EINVAL;
  const { sizeBytes, at } = Singleshot[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const deadlineNs = view.getBigUint64(at.timeoutNs, true);
  const mustBeAhead = (view.getUint32(at.flags, true) & SINGLESHOT_FUTURE) !== 0;
  if (mustBeAhead && Number(deadlineNs) < context.domain.clock.nowNs()) return ETIME;
  parts.timers.setSingleshot(target, deadlineNs);
  return 0n;
}

/** struct vcpu_register_vcpu_info: mfn, offset. Once per vCPU; by itself or while it is down. */
function registerVcpuInfo({ context, parts, target, pointer }: Request): bigint {
  const view = copyFromGuest(context.vcpu, pointer, 16);
  if (view === undefined) return EFAULT;
  const { memory, mm, sharedInfoGpa } = context.domain;
  const mfn = Number(view.getBigUint64(0, true));
  const offset = view.getUint32(8, true);
  if (offset > PAGE_BYTES - VcpuInfo.SIZE_BYTES || (offset & 7) !== 0) return ENXIO;
  const moved = target.vcpuInfoGpa < sharedInfoGpa || target.vcpuInfoGpa >= sharedInfoGpa + PAGE_BYTES;
  if (moved || (target !== context.vcpu && !target.cpu.offline)) return EINVAL;
  if (!mm.isGuestFrame(mfn) || !mm.takeWritable(mfn)) return EINVAL;
  const gpa = mfn * PAGE_BYTES + offset;
  memory.writeBytes(gpa, memory.readBytes(target.vcpuInfoGpa, VcpuInfo.SIZE_BYTES));
  target.vcpuInfoGpa = gpa;
  parts.time.moved(target);
  parts.events.pendEverything(target);
  return 0n;
}
