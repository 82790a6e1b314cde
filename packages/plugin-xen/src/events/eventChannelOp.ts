import { copyFromGuest, copyToGuest } from '../access.ts';
import type { HypercallContext, HypercallHandler } from '../domain.ts';
import { EFAULT, EINVAL, ENOSYS } from '../errno.ts';
import { notImplemented } from '../hypercall/dispatch.ts';
import { targetDomainErrno } from '../hypercall/domid.ts';
import { bytesOf } from '../hypercall/guestCopy.ts';
import type { Channel, ChannelState } from './channel.ts';
import type { EventChannels } from './eventChannels.ts';
import { FIFO_LINK_BITS } from './fifo.ts';

/** EVTCHNSTAT_* (public/event_channel.h). */
const STATUS: Readonly<Record<ChannelState, number>> = {
  free: 0,
  reserved: 0,
  unbound: 1,
  interdomain: 2,
  virq: 4,
  ipi: 5,
};

/** One operation: its argument's size, and what it does to it. `writesBack`: the argument has OUT fields. */
interface Operation {
  readonly sizeBytes: number;
  readonly writesBack: boolean;
  run(events: EventChannels, argument: DataView): bigint;
}

/** Put a port into its OUT field; errnos pass through. */
function portOut(argument: DataView, offset: number, port: bigint): bigint {
  if (port < 0n) return port;
  argument.setUint32(offset, Number(port), true);
  return 0n;
}

/** A frame number as a number; anything beyond memory becomes one that no memory has. */
function frame(argument: DataView, offset: number): number {
  return Number(argument.getBigUint64(offset, true));
}

/** IN dom, port. OUT status, vcpu, and by status: remote dom and port, or virq. */
function status(events: EventChannels, argument: DataView): bigint {
  const errno = targetDomainErrno(argument.getUint16(0, true));
  if (errno !== 0n) return errno;
  const channel = events.status(argument.getUint32(4, true));
  if (channel === undefined) return EINVAL;
  argument.setUint32(8, STATUS[channel.state], true);
  argument.setUint32(12, channel.vcpu, true);
  statusDetail(argument, channel);
  return 0n;
}

function statusDetail(argument: DataView, channel: Readonly<Channel>): void {
  if (channel.state === 'virq') argument.setUint32(16, channel.virq, true);
  if (channel.state === 'unbound' || channel.state === 'interdomain') {
    argument.setUint16(16, channel.remoteDomain, true);
  }
  if (channel.state === 'interdomain') argument.setUint32(20, channel.remotePort, true);
}

/** By EVTCHNOP_* number. Layouts: public/event_channel.h, struct evtchn_<name>. */
const OPERATIONS: readonly Operation[] = [
  /* 0 bind_interdomain: IN remote_dom, remote_port. OUT local_port. */
  {
    sizeBytes: 12,
    writesBack: true,
    run: (events, a) => portOut(a, 8, events.bindInterdomain(a.getUint16(0, true), a.getUint32(4, true))),
  },
  /* 1 bind_virq: IN virq, vcpu. OUT port. */
  {
    sizeBytes: 12,
    writesBack: true,
    run: (events, a) => portOut(a, 8, events.bindVirq(a.getUint32(0, true), a.getUint32(4, true))),
  },
  /* 2 bind_pirq: IN pirq, flags. OUT port. NOT for a domain without hardware: -EPERM. */
  { sizeBytes: 12, writesBack: false, run: (events) => events.bindPirq() },
  /* 3 close: IN port. */
  { sizeBytes: 4, writesBack: false, run: (events, a) => events.close(a.getUint32(0, true)) },
  /* 4 send: IN port. */
  { sizeBytes: 4, writesBack: false, run: (events, a) => events.send(a.getUint32(0, true)) },
  /* 5 status */
  { sizeBytes: 24, writesBack: true, run: status },
  /* 6 alloc_unbound: IN dom (SELF), remote_dom. OUT port. */
  {
    sizeBytes: 8,
    writesBack: true,
    run: (events, a) => {
      const errno = targetDomainErrno(a.getUint16(0, true));
      return errno === 0n ? portOut(a, 4, events.allocUnbound(a.getUint16(2, true))) : errno;
    },
  },
  /* 7 bind_ipi: IN vcpu. OUT port. */
  { sizeBytes: 8, writesBack: true, run: (events, a) => portOut(a, 4, events.bindIpi(a.getUint32(0, true))) },
  /* 8 bind_vcpu: IN port, vcpu. */
  {
    sizeBytes: 8,
    writesBack: false,
    run: (events, a) => events.bindVcpu(a.getUint32(0, true), a.getUint32(4, true)),
  },
  /* 9 unmask: IN port. */
  { sizeBytes: 4, writesBack: false, run: (events, a) => events.unmask(a.getUint32(0, true)) },
  /* 10 reset: IN dom (SELF). */
  {
    sizeBytes: 2,
    writesBack: false,
    run: (events, a) => {
      const errno = targetDomainErrno(a.getUint16(0, true));
      return errno === 0n ? events.reset() : errno;
    },
  },
  /* 11 init_control: IN control_gfn, offset, vcpu. OUT link_bits. */
  {
    sizeBytes: 24,
    writesBack: true,
    run: (events, a) => {
      a.setUint8(16, FIFO_LINK_BITS);
      return events.initControl(a.getUint32(12, true), frame(a, 0), a.getUint32(8, true));
    },
  },
  /* 12 expand_array: IN array_gfn. */
  { sizeBytes: 8, writesBack: false, run: (events, a) => events.expandArray(frame(a, 0)) },
  /* 13 set_priority: IN port, priority. */
  {
    sizeBytes: 8,
    writesBack: false,
    run: (events, a) => events.setPriority(a.getUint32(0, true), a.getUint32(4, true)),
  },
];

/**
 * event_channel_op (32).
 *
 * NOTES: the sub-operations stand in OPERATIONS above, by number. OUT fields are written only on success.
 * IN: cmd, pointer to the sub-operation's structure.
 * OUT: 0 or a negative errno; -ENOSYS for an unknown cmd, -EFAULT for a bad pointer.
 */
export function eventChannelOp(events: EventChannels): HypercallHandler {
  return (context, args) => run(context, events, BigInt.asUintN(32, args[0]), args[1]);
}

/**
 * event_channel_op_compat (16): the same with cmd and structure in one (struct evtchn_op).
 *
 * IN: pointer to struct evtchn_op. OUT: as event_channel_op; sub-operations 0–9 only.
 */
export function eventChannelOpCompat(events: EventChannels): HypercallHandler {
  return (context, args) => {
    const cmd = copyFromGuest(context.vcpu, args[0], 4)?.getUint32(0, true);
    if (cmd === undefined) return EFAULT;
    return cmd > 9 ? ENOSYS : run(context, events, BigInt(cmd), BigInt.asUintN(64, args[0] + 4n));
  };
}

function run(context: HypercallContext, events: EventChannels, cmd: bigint, pointer: bigint): bigint {
  const operation = cmd < BigInt(OPERATIONS.length) ? OPERATIONS[Number(cmd)] : undefined;
  if (operation === undefined) return notImplemented(context, 'event_channel_op', cmd.toString(), ENOSYS);
  const argument = copyFromGuest(context.vcpu, pointer, operation.sizeBytes);
  if (argument === undefined) return EFAULT;
  const result = operation.run(events, argument);
  if (result !== 0n || !operation.writesBack) return result;
  return copyToGuest(context.vcpu, pointer, bytesOf(argument)) ? 0n : EFAULT;
}
