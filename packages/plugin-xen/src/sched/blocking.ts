import type { Timer } from '@polyvisor/plugin-api';
import { VcpuInfo } from '../abi/sharedPages.ts';
import type { XenDomain, XenVcpu } from '../domain.ts';
import { Runstate, type Runstates } from './runstate.ts';

/** Not polling, or polling on several ports (or none): any port's event may end it. */
const ANY_PORT = -1;

interface Poll {
  /** The one port it waits for, or {@link ANY_PORT}. */
  readonly port: number;
  readonly timer: Timer | undefined;
}

/** Which vCPUs wait, for what, and what wakes them. */
export class Blocking {
  readonly #domain: XenDomain;
  readonly #runstates: Runstates;
  readonly #polls: (Poll | undefined)[];

  constructor(domain: XenDomain, runstates: Runstates) {
    this.#domain = domain;
    this.#runstates = runstates;
    this.#polls = domain.vcpus.map(() => undefined);
  }

  /** An upcall is pending and the vCPU does not mask it: one 16-bit read, as this runs at every entry. */
  upcallPending(vcpu: XenVcpu): boolean {
    const pendingAndMask = this.#domain.memory.read16(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_PENDING);
    return pendingAndMask !== 0 && pendingAndMask <= 0xff;
  }

  /** SCHEDOP_block: unmask upcalls, then wait unless one is pending. */
  block(vcpu: XenVcpu): void {
    this.#domain.memory.write8(vcpu.vcpuInfoGpa + VcpuInfo.UPCALL_MASK, 0);
    if (this.upcallPending(vcpu) || vcpu.nmiPending) return;
    this.#wait(vcpu);
  }

  /** SCHEDOP_poll: wait for a port (all when `undefined`), any upcall, or the system time `timeoutNs` (0: never). */
  poll(vcpu: XenVcpu, port: number | undefined, timeoutNs: bigint): void {
    const timer = timeoutNs === 0n ? undefined : this.#domain.clock.at(Number(timeoutNs), () => this.unblock(vcpu));
    this.#polls[vcpu.id] = { port: port ?? ANY_PORT, timer };
    this.#wait(vcpu);
  }

  /** An event became pending for this vCPU: let it look, whether or not it masks upcalls. */
  unblock(vcpu: XenVcpu): void {
    this.#endPoll(vcpu);
    if (vcpu.cpu.offline) return;
    if (vcpu.cpu.blocked) {
      this.#runstates.change(vcpu, Runstate.RUNNABLE);
      vcpu.cpu.wake();
    } else vcpu.cpu.kick();
  }

  /** A port became pending: wake the vCPUs that poll for it, whatever their upcall state. */
  wakePollers(port: number): void {
    for (let id = 0; id < this.#polls.length; id++) {
      const poll = this.#polls[id];
      if (poll !== undefined && (poll.port === ANY_PORT || poll.port === port)) this.unblock(this.#domain.vcpus[id]);
    }
  }

  up(vcpu: XenVcpu): void {
    if (!vcpu.cpu.offline) return;
    vcpu.cpu.offline = false;
    this.#runstates.change(vcpu, Runstate.RUNNABLE);
    vcpu.cpu.wake();
  }

  down(vcpu: XenVcpu): void {
    this.#endPoll(vcpu);
    vcpu.cpu.offline = true;
    this.#runstates.change(vcpu, Runstate.OFFLINE);
    vcpu.cpu.kick();
  }

  #wait(vcpu: XenVcpu): void {
    vcpu.cpu.blocked = true;
    this.#runstates.change(vcpu, Runstate.BLOCKED);
  }

  #endPoll(vcpu: XenVcpu): void {
    this.#polls[vcpu.id]?.timer?.cancel();
    this.#polls[vcpu.id] = undefined;
  }
}
