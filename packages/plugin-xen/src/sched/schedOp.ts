import { readWord, struct } from '../abi/struct.ts';
import { copyFromGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler } from '../domain.ts';
import { EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../errno.ts';
import type { EventChannels } from '../events/eventChannels.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { Domid, isOwnDomid } from '../hypercall/domid.ts';
import type { Blocking } from './blocking.ts';
import type { Shutdown } from './shutdown.ts';
import type { Watchdogs } from './watchdogs.ts';

/** SCHEDOP_* (public/sched.h). */
const SchedOp = {
  YIELD: 0,
  BLOCK: 1,
  SHUTDOWN: 2,
  POLL: 3,
  REMOTE_SHUTDOWN: 4,
  SHUTDOWN_CODE: 5,
  WATCHDOG: 6,
  PIN_OVERRIDE: 7,
} as const;

/** Most ports one poll may name, as in Xen. */
const MAX_POLL_PORTS = 128;

export interface SchedParts {
  readonly events: EventChannels;
  readonly blocking: Blocking;
  readonly shutdown: Shutdown;
  readonly watchdogs: Watchdogs;
}

/**
 * sched_op (29).
 *
 * NOTES: `yield` lets the other vCPUs run; `block` unmasks upcalls and waits for one; `poll` waits for one of some
 * ports whether or not upcalls are masked; `shutdown` ends the domain, `shutdown_code` only names the reason;
 * `remote_shutdown` of oneself is refused as for any unprivileged domain; `pin_override` is the hardware domain's.
 * IN: cmd, pointer to struct sched_<cmd> (yield and block have none).
 * OUT: 0 (watchdog with id 0: the new id), or a negative errno.
 */
export function schedOp(parts: SchedParts): HypercallHandler {
  return (context, args) => {
    const cmd = Number(BigInt.asUintN(32, args[0]));
    const pointer = args[1];
    switch (cmd) {
      case SchedOp.YIELD:
        context.vcpu.cpu.kick();
        return 0n;
      case SchedOp.BLOCK:
        parts.blocking.block(context.vcpu);
        return 0n;
      case SchedOp.SHUTDOWN:
      case SchedOp.SHUTDOWN_CODE:
        return shutdown(context, parts.shutdown, cmd, pointer);
      case SchedOp.POLL:
        return poll(context, parts, pointer);
      case SchedOp.REMOTE_SHUTDOWN:
        return remoteShutdown(context, pointer);
      case SchedOp.WATCHDOG:
        return watchdog(context, parts.watchdogs, pointer);
      case SchedOp.PIN_OVERRIDE:
        return EPERM;
      default:
        return notImplemented(context, 'sched_op', cmd, ENOSYS);
    }
  };
}

/**
 * sched_op_compat (6): yield, block and shutdown with the argument in the register.
 *
 * IN: cmd (0 yield, 1 block, 2 shutdown), reason. OUT: 0 or -ENOSYS.
 */
export function schedOpCompat(parts: SchedParts): HypercallHandler {
  return (context, args) => {
    const cmd = Number(BigInt.asUintN(32, args[0]));
    if (cmd === SchedOp.YIELD) context.vcpu.cpu.kick();
    else if (cmd === SchedOp.BLOCK) parts.blocking.block(context.vcpu);
    else if (cmd === SchedOp.SHUTDOWN) parts.shutdown.now(context.vcpu, Number(BigInt.asUintN(8, args[1])));
    else return notImplemented(context, 'sched_op_compat', cmd, ENOSYS);
    return 0n;
  };
}

/** struct sched_shutdown: reason. */
function shutdown(context: HypercallContext, parts: Shutdown, cmd: number, pointer: bigint): bigint {
  const reason = copyFromGuest(context.vcpu, pointer, 4)?.getUint32(0, true);
  if (reason === undefined) return EFAULT;
  if (cmd === SchedOp.SHUTDOWN_CODE) parts.announce(reason & 0xff);
  else parts.now(context.vcpu, reason & 0xff);
  return 0n;
}

/** struct sched_poll; the timeout is system time in ns, 0 = none. */
const Poll = struct({ ports: 'word', count: 'u32', timeoutNs: 'u64' });

function poll(context: HypercallContext, { events, blocking }: SchedParts, pointer: bigint): bigint {
  const { sizeBytes, at } = Poll[context.wordBytes];
  const view = copyFromGuest(context.vcpu, pointer, sizeBytes);
  if (view === undefined) return EFAULT;
  const count = view.getUint32(at.count, true);
  if (count > MAX_POLL_PORTS) return EINVAL;
  if (blocking.upcallPending(context.vcpu)) return 0n;
  const ports = copyFromGuest(context.vcpu, readWord(view, at.ports, context.wordBytes), count * 4);
  if (ports === undefined) return EFAULT;
  for (let i = 0; i < count; i++) {
    const pending = events.isPending(ports.getUint32(i * 4, true));
    if (pending === undefined) return EINVAL;
    if (pending) return 0n;
  }
  const port = count === 1 ? ports.getUint32(0, true) : undefined;
  blocking.poll(context.vcpu, port, view.getBigUint64(at.timeoutNs, true));
  return 0n;
}

/** struct sched_remote_shutdown: domain_id, reason. Only a device model or the toolstack may. */
function remoteShutdown(context: HypercallContext, pointer: bigint): bigint {
  const domid = copyFromGuest(context.vcpu, pointer, 8)?.getUint16(0, true);
  if (domid === undefined) return EFAULT;
  const exists = domid !== Domid.SELF && (isOwnDomid(domid) || domid === Domid.CONTROL);
  return exists ? EPERM : ESRCH;
}

/** struct sched_watchdog: id, timeout in seconds. */
function watchdog(context: HypercallContext, watchdogs: Watchdogs, pointer: bigint): bigint {
  const view = copyFromGuest(context.vcpu, pointer, 8);
  return view === undefined ? EFAULT : watchdogs.set(view.getUint32(0, true), view.getUint32(4, true));
}
