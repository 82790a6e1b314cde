import { VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { EEXIST, EINVAL, ENOENT, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../errno.ts';
import { Domid, isOwnDomid } from '../hypercall/domid.ts';
import type { Blocking } from '../sched/blocking.ts';
import { type Channel, newChannel, type PortOps, type Upcalls } from './channel.ts';
import { FifoPorts, MIN_PRIORITY, resetFifoState } from './fifo.ts';
import { TwoLevelPorts } from './twoLevel.ts';

/** A toolstack's default for max_event_channels (xl.cfg): ports 0–1023. */
const MAX_PORTS = 1024;
/** NR_VIRQS (public/xen.h). */
const VIRQS = 24;
/** VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU: one port a vCPU; the others: vCPU 0 only. */
const PER_VCPU_VIRQS: ReadonlySet<number> = new Set([0, 1, 7, 13]);
export const VIRQ_TIMER = 0;

/** A port number, or a negative errno. */
export type PortOrErrno = bigint;

/**
 * The guest's event channels. Operations answer 0 or a port, or a negative errno, as EVTCHNOP_* do
 * (public/event_channel.h). vCPU and port numbers may be anything.
 */
export class EventChannels {
  readonly #domain: XenDomain;
  readonly #upcalls: Upcalls;
  readonly #channels: Channel[] = Array.from({ length: MAX_PORTS }, (_, port) => newChannel(port));
  /** Port by vCPU and VIRQ, 0 = not bound. */
  readonly #virqPorts: Uint16Array[];
  #ops: PortOps;
  #fifo: FifoPorts | undefined;

  constructor(domain: XenDomain, blocking: Blocking) {
    this.#domain = domain;
    this.#virqPorts = domain.vcpus.map(() => new Uint16Array(VIRQS));
    this.#upcalls = {
      markPending: (vcpu) => {
        const wasPending = domain.memory.testAndSetBit(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_PENDING, 0);
        if (wasPending) return;
        domain.upcallRaised?.(vcpu);
        blocking.unblock(vcpu);
      },
      becamePending: (port) => blocking.wakePollers(port),
    };
    this.#ops = new TwoLevelPorts(domain, this.#upcalls);
  }

  get abi(): PortOps['name'] {
    return this.#ops.name;
  }
  /** How many are bound, or wait to be. */
  get open(): number {
    return this.#channels.filter(({ state }) => state !== 'free' && state !== 'reserved').length;
  }

  // --- binding -------------------------------------------------------------------------------------------------

  allocUnbound(remoteDomain: number): PortOrErrno {
    const channel = this.#allocate();
    if (channel === undefined) return ENOSPC;
    channel.state = 'unbound';
    channel.remoteDomain = remoteDomain === Domid.SELF ? Domid.GUEST : remoteDomain;
    return BigInt(channel.port);
  }

  /** A channel whose other end is the host's: `peer` runs when the guest sends. */
  bindHost(peer: () => void): number {
    const port = Number(this.allocUnbound(Domid.CONTROL));
    if (port < 0) throw new RangeError('no event channel left for the start-of-day rings');
    const channel = this.#channels[port];
    channel.state = 'interdomain';
    channel.remotePort = port;
    channel.peer = peer;
    return port;
  }

  /**
   * Take the host's end of a channel that the guest opened for the control domain; `peer` runs when the guest sends.
   * `false`: there is no such channel.
   */
  connectHost(port: number, peer: () => void): boolean {
    const channel = this.#channels[port];
    if (channel === undefined || channel.state !== 'unbound' || channel.remoteDomain !== Domid.CONTROL) return false;
    channel.state = 'interdomain';
    channel.remotePort = port;
    channel.peer = peer;
    return true;
  }

  /** Let go of the host's end; the guest's end is unbound again, unless the guest has closed it. */
  disconnectHost(port: number, peer: () => void): void {
    const channel = this.#channels[port];
    if (channel?.peer !== peer) return;
    channel.state = 'unbound';
    channel.peer = undefined;
  }

  bindInterdomain(remoteDomain: number, remotePort: number): PortOrErrno {
    if (remoteDomain !== Domid.CONTROL && !isOwnDomid(remoteDomain)) return ESRCH;
    // The control domain keeps no unbound port open for the guest.
    if (remoteDomain === Domid.CONTROL) return EINVAL;
    const remote = this.#channels[remotePort];
    if (remote === undefined || remote.state !== 'unbound' || remote.remoteDomain !== Domid.GUEST) return EINVAL;
    const local = this.#allocate();
    if (local === undefined) return ENOSPC;
    join(local, remote);
    join(remote, local);
    // A notification may have been lost while the other end was unbound: give one now.
    this.#ops.setPending(local);
    return BigInt(local.port);
  }

  bindVirq(virq: number, vcpuId: number): PortOrErrno {
    if (virq >= VIRQS) return EINVAL;
    if (!PER_VCPU_VIRQS.has(virq) && vcpuId !== 0) return EINVAL;
    const ports = this.#virqPorts[vcpuId];
    if (ports === undefined) return ENOENT;
    if (ports[virq] !== 0) return EEXIST;
    const channel = this.#allocate();
    if (channel === undefined) return ENOSPC;
    channel.state = 'virq';
    channel.virq = virq;
    channel.vcpu = vcpuId;
    ports[virq] = channel.port;
    return BigInt(channel.port);
  }

  bindIpi(vcpuId: number): PortOrErrno {
    if (this.#domain.vcpus[vcpuId] === undefined) return ENOENT;
    const channel = this.#allocate();
    if (channel === undefined) return ENOSPC;
    channel.state = 'ipi';
    channel.vcpu = vcpuId;
    return BigInt(channel.port);
  }

  /** A domain without hardware has no physical interrupts to bind. */
  bindPirq(): bigint {
    return EPERM;
  }

  bindVcpu(port: number, vcpuId: number): bigint {
    if (this.#domain.vcpus[vcpuId] === undefined) return ENOENT;
    const channel = this.#channels[port];
    if (channel === undefined) return EINVAL;
    const movable =
      channel.state === 'unbound' ||
      channel.state === 'interdomain' ||
      (channel.state === 'virq' && !PER_VCPU_VIRQS.has(channel.virq));
    if (!movable) return EINVAL;
    channel.vcpu = vcpuId;
    return 0n;
  }

  close(port: number): bigint {
    const channel = this.#channels[port];
    if (channel === undefined || channel.state === 'free' || channel.state === 'reserved') return EINVAL;
    if (channel.state === 'virq') this.#virqPorts[this.#virqOwner(channel)][channel.virq] = 0;
    const remote = this.#loopback(channel);
    if (remote !== undefined) {
      remote.state = 'unbound';
      remote.remoteDomain = Domid.GUEST;
    }
    this.#ops.clearPending(channel);
    channel.state = 'free';
    channel.vcpu = 0;
    channel.peer = undefined;
    return 0n;
  }

  // --- sending -------------------------------------------------------------------------------------------------

  send(port: number): bigint {
    const channel = this.#channels[port];
    if (channel === undefined) return EINVAL;
    switch (channel.state) {
      case 'interdomain': {
        const remote = this.#loopback(channel);
        if (remote !== undefined) this.#setPending(remote);
        else channel.peer?.();
        return 0n;
      }
      case 'ipi':
        this.#setPending(channel);
        return 0n;
      case 'unbound':
        return 0n;
      default:
        return EINVAL;
    }
  }

  /** The host's end sends: the guest sees its port pending. Nothing happens once the guest has closed it. */
  notifyGuest(port: number): void {
    const channel = this.#channels[port];
    if (channel?.state === 'interdomain' && channel.peer !== undefined) this.#setPending(channel);
  }

  /** A virtual interrupt; lost when the guest has not bound it. */
  raiseVirq(vcpu: XenVcpu, virq: number): void {
    const port = this.#virqPorts[vcpu.id][virq];
    if (port !== 0) this.#setPending(this.#channels[port]);
  }

  /** `true` when a VIRQ has a port on this vCPU. */
  virqBound(vcpu: XenVcpu, virq: number): boolean {
    return this.#virqPorts[vcpu.id][virq] !== 0;
  }

  unmask(port: number): bigint {
    const channel = this.#channels[port];
    if (channel === undefined || channel.state === 'free') return EINVAL;
    this.#ops.unmask(channel);
    return 0n;
  }

  /** For SCHEDOP_poll; `undefined`: no such port. */
  isPending(port: number): boolean | undefined {
    const channel = this.#channels[port];
    return channel === undefined ? undefined : this.#ops.isPending(channel);
  }

  /** The channel as EVTCHNOP_status reports it; `undefined`: no such port. */
  status(port: number): Readonly<Channel> | undefined {
    return this.#channels[port];
  }

  // --- ABI -----------------------------------------------------------------------------------------------------

  initControl(vcpuId: number, mfn: number, offset: number): bigint {
    const vcpu = this.#domain.vcpus[vcpuId];
    if (vcpu === undefined) return ENOENT;
    if (this.#fifo !== undefined) return this.#fifo.addControlBlock(vcpu, mfn, offset);
    const fifo = new FifoPorts(this.#domain, this.#upcalls);
    const errno = fifo.addControlBlock(vcpu, mfn, offset);
    if (errno !== 0n) return errno;
    // What is pending in the bitmaps is set again in the array as soon as that has a page for it.
    for (const channel of this.#channels) {
      resetFifoState(channel);
      channel.pendingUnrecorded = channel.state !== 'free' && this.#ops.isPending(channel);
    }
    this.#fifo = fifo;
    this.#ops = fifo;
    return 0n;
  }

  expandArray(mfn: number): bigint {
    if (this.#fifo === undefined) return EOPNOTSUPP;
    const first = this.#fifo.wordCount;
    const errno = this.#fifo.addArrayPage(mfn);
    if (errno !== 0n) return errno;
    for (let port = first; port < Math.min(this.#fifo.wordCount, MAX_PORTS); port++) {
      const channel = this.#channels[port];
      if (!channel.pendingUnrecorded) continue;
      channel.pendingUnrecorded = false;
      this.#fifo.setPending(channel);
    }
    return 0n;
  }

  setPriority(port: number, priority: number): bigint {
    const channel = this.#channels[port];
    if (channel === undefined) return EINVAL;
    if (this.#fifo === undefined) return ENOSYS;
    if (priority > MIN_PRIORITY) return EINVAL;
    this.#fifo.setPriority(channel, priority);
    return 0n;
  }

  /** Close everything and go back to the 2-level ABI. */
  reset(): bigint {
    for (let port = 1; port < MAX_PORTS; port++) this.close(port);
    if (this.#fifo === undefined) return 0n;
    this.#fifo.release();
    this.#fifo = undefined;
    this.#ops = new TwoLevelPorts(this.#domain, this.#upcalls);
    return 0n;
  }

  /** After a vcpu_info moved: everything counts as pending, so that nothing is lost; the guest sees spurious events. */
  pendEverything(vcpu: XenVcpu): void {
    const { memory, shared } = this.#domain;
    const selector = vcpu.vcpuInfoGpa + shared.vcpuPendingSelector;
    if (this.#fifo === undefined) memory.fill(selector, shared.wordBytes, 0xff);
    this.#domain.memory.testAndSetBit(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_PENDING, 0);
    this.#domain.upcallRaised?.(vcpu);
  }

  #setPending(channel: Channel): void {
    this.#domain.host.trace('events', () => ({ port: channel.port, state: channel.state, vcpu: channel.vcpu }));
    this.#ops.setPending(channel);
  }

  #allocate(): Channel | undefined {
    const limit = Math.min(MAX_PORTS, this.#ops.portLimit);
    for (let port = 1; port < limit; port++) {
      const channel = this.#channels[port];
      if (channel.state !== 'free' || this.#ops.isBusy(channel)) continue;
      resetFifoState(channel);
      return channel;
    }
    return undefined;
  }

  #loopback(channel: Channel): Channel | undefined {
    const isLoop = channel.state === 'interdomain' && channel.remoteDomain === Domid.GUEST;
    return isLoop ? this.#channels[channel.remotePort] : undefined;
  }

  #virqOwner(channel: Channel): number {
    return PER_VCPU_VIRQS.has(channel.virq) ? channel.vcpu : 0;
  }
}

function join(from: Channel, to: Channel): void {
  from.state = 'interdomain';
  from.remoteDomain = Domid.GUEST;
  from.remotePort = to.port;
  from.peer = undefined;
}
