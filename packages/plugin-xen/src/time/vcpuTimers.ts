import type { Timer } from '@polyvisor/plugin-api';
import type { HypercallHandler, XenDomain, XenVcpu } from '../domain.ts';
import { EINVAL } from '../errno.ts';
import { type EventChannels, VIRQ_TIMER } from '../events/eventChannels.ts';

/** A PV vCPU starts with a 100 Hz periodic timer, which is heard once VIRQ_TIMER is bound. */
const DEFAULT_PERIOD_NS = 10_000_000;
const MIN_PERIOD_NS = 1_000_000n;
/** Longest delay a timer takes at its word; beyond it lies wrapped arithmetic of the guest's. */
const MAX_DELAY_NS = 1n << 50n;
const FAR_FUTURE_DELAY_NS = 100_000_000;

interface Timers {
  singleshot: Timer | undefined;
  periodic: Timer | undefined;
  periodNs: number;
  /** A period passed while the vCPU was not running: it hears of it when it next runs. */
  periodDue: boolean;
}

/** Per-vCPU timers; all deliver VIRQ_TIMER. Deadlines are system time in ns. */
export class VcpuTimers {
  readonly #domain: XenDomain;
  readonly #events: EventChannels;
  readonly #timers: Timers[];

  constructor(domain: XenDomain, events: EventChannels) {
    this.#domain = domain;
    this.#events = events;
    this.#timers = domain.vcpus.map(() => ({
      singleshot: undefined,
      periodic: undefined,
      periodNs: DEFAULT_PERIOD_NS,
      periodDue: false,
    }));
  }

  /** One event at `deadlineNs`; at once when that has passed. */
  setSingleshot(vcpu: XenVcpu, deadlineNs: bigint): void {
    this.stopSingleshot(vcpu);
    const deadline = Number(deadlineNs);
    if (deadline <= this.#domain.clock.nowNs()) {
      this.#events.raiseVirq(vcpu, VIRQ_TIMER);
      return;
    }
    const timers = this.#timers[vcpu.id];
    timers.singleshot = this.#domain.clock.at(deadline, () => {
      timers.singleshot = undefined;
      this.#events.raiseVirq(vcpu, VIRQ_TIMER);
    });
  }

  stopSingleshot(vcpu: XenVcpu): void {
    const timers = this.#timers[vcpu.id];
    timers.singleshot?.cancel();
    timers.singleshot = undefined;
  }

  /** VCPUOP_set_periodic_timer; answers an errno. */
  setPeriodic(vcpu: XenVcpu, periodNs: bigint): bigint {
    if (periodNs < MIN_PERIOD_NS || periodNs > MAX_DELAY_NS) return EINVAL;
    this.#restartPeriodic(vcpu, Number(periodNs));
    return 0n;
  }

  stopPeriodic(vcpu: XenVcpu): void {
    this.#restartPeriodic(vcpu, 0);
  }

  /** Before each entry: start the periodic timer of a vCPU that has bound VIRQ_TIMER, deliver a period that passed. */
  beforeEntry(vcpu: XenVcpu): void {
    const timers = this.#timers[vcpu.id];
    if (timers.periodNs === 0) return;
    if (timers.periodDue) {
      timers.periodDue = false;
      this.#events.raiseVirq(vcpu, VIRQ_TIMER);
    }
    if (timers.periodic === undefined && this.#events.virqBound(vcpu, VIRQ_TIMER)) this.#armPeriodic(vcpu, timers);
  }

  stopAll(): void {
    for (const vcpu of this.#domain.vcpus) {
      this.stopSingleshot(vcpu);
      this.stopPeriodic(vcpu);
    }
  }

  #restartPeriodic(vcpu: XenVcpu, periodNs: number): void {
    const timers = this.#timers[vcpu.id];
    timers.periodic?.cancel();
    timers.periodic = undefined;
    timers.periodDue = false;
    timers.periodNs = periodNs;
  }

  #armPeriodic(vcpu: XenVcpu, timers: Timers): void {
    timers.periodic = this.#domain.clock.at(this.#domain.clock.nowNs() + timers.periodNs, () => {
      timers.periodic = undefined;
      // A waiting vCPU is not woken for its periodic tick.
      timers.periodDue = true;
      if (!vcpu.cpu.blocked && !vcpu.cpu.offline) vcpu.cpu.kick();
    });
  }
}

/**
 * set_timer_op (15): one VIRQ_TIMER at a system time.
 *
 * NOTES: the same timer as VCPUOP_set_singleshot_timer. A negative deadline, or one more than about 13 days ahead,
 * is taken as a wrapped counter and fires in 100 ms.
 * IN: absolute system time in ns; 0 stops the timer.
 * OUT: 0.
 */
export function setTimerOp(timers: VcpuTimers): HypercallHandler {
  return ({ domain, vcpu }, args) => {
    const deadlineNs = BigInt.asIntN(64, args[0]);
    if (deadlineNs === 0n) {
      timers.stopSingleshot(vcpu);
      return 0n;
    }
    const nowNs = BigInt(Math.trunc(domain.clock.nowNs()));
    const wrapped = deadlineNs < 0n || deadlineNs - nowNs >= MAX_DELAY_NS;
    timers.setSingleshot(vcpu, wrapped ? nowNs + BigInt(FAR_FUTURE_DELAY_NS) : deadlineNs);
    return 0n;
  };
}
