import type { XenVcpu } from '../domain.ts';

export type ChannelState = 'free' | 'reserved' | 'unbound' | 'interdomain' | 'virq' | 'ipi';

/** One port. Which fields mean something depends on `state`. */
export interface Channel {
  readonly port: number;
  state: ChannelState;
  /** vCPU that is told. */
  vcpu: number;
  /** unbound: who may bind it; interdomain: the other end's domain. */
  remoteDomain: number;
  /** interdomain: the other end's port. */
  remotePort: number;
  /** interdomain with a host-side other end: called when the guest sends. */
  peer: (() => void) | undefined;
  virq: number;
  /** Became pending while the FIFO array had no word for it yet. */
  pendingUnrecorded: boolean;
  /** FIFO priority, 0 (first) – 15. */
  priority: number;
  /** FIFO queue it was last put on. */
  queueVcpu: number;
  queuePriority: number;
}

export const DEFAULT_PRIORITY = 7;

export function newChannel(port: number): Channel {
  return {
    port,
    state: port === 0 ? 'reserved' : 'free',
    vcpu: 0,
    remoteDomain: 0,
    remotePort: 0,
    peer: undefined,
    virq: 0,
    pendingUnrecorded: false,
    priority: DEFAULT_PRIORITY,
    queueVcpu: 0,
    queuePriority: DEFAULT_PRIORITY,
  };
}

/** What delivering a port needs of the domain. */
export interface Upcalls {
  /** Raise evtchn_upcall_pending of this vCPU. */
  markPending(vcpu: XenVcpu): void;
  /** A port went from idle to pending: vCPUs may be polling for it. */
  becamePending(port: number): void;
}

/** One event-channel ABI: how pending and masked ports lie in memory shared with the guest. */
export interface PortOps {
  readonly name: '2-level' | 'fifo';
  /** Ports the guest's memory has room for are below this. */
  readonly portLimit: number;
  setPending(channel: Channel): void;
  clearPending(channel: Channel): void;
  unmask(channel: Channel): void;
  isPending(channel: Channel): boolean;
  /** Still on a queue: must not be given out again yet. */
  isBusy(channel: Channel): boolean;
  /** `false`: this ABI has no priorities. */
  setPriority(channel: Channel, priority: number): boolean;
}
