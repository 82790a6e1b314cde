import type { Machine, Timer, Vcpu } from '@polyvisor/plugin-api';

/** The counters of cycles (Linux 2.6.32, arch/x86/include/asm/vmi_time.h). */
export const Cycles = { REAL: 0, AVAILABLE: 1, STOLEN: 2 } as const;
/** Bits of an alarm's flags; the lowest byte is the counter. */
export const AlarmFlag = { COUNTER: 0xff, PERIODIC: 0x100, WIRED_LVTT: 0x10000 } as const;

/** Alarms stand for the counters of real and of available cycles. */
const ALARMS = 2;
const KNOWN = AlarmFlag.COUNTER | AlarmFlag.PERIODIC | AlarmFlag.WIRED_LVTT;
/** A guest that asks for more is interrupted as often as this. */
const LEAST_PERIOD_NS = 20_000;

interface Alarm {
  readonly flags: number;
  readonly periodNs: number;
  /** `undefined`: so late that no clock gets there. */
  timer: Timer | undefined;
}

/** The alarms of a vCPU. No cycle is ever stolen: real and available cycles are the same. */
export class Alarms {
  readonly #machine: Machine;
  readonly #vcpu: Vcpu;
  readonly #alarms: (Alarm | undefined)[] = Array.from({ length: ALARMS });

  constructor(machine: Machine, vcpu: Vcpu) {
    this.#machine = machine;
    this.#vcpu = vcpu;
  }

  /** `undefined`: there is no such counter. */
  cycles(counter: number): bigint | undefined {
    if (counter === Cycles.STOLEN) return 0n;
    return counter < ALARMS ? this.#machine.clock.tsc() : undefined;
  }

  /**
   * Interrupt when the counter reaches `expiry`, and every `period` cycles from then on if the alarm is periodic. It takes
   * the place of the counter's last alarm. Answers why not, or `undefined`.
   */
  set(flags: number, expiry: bigint, period: bigint): string | undefined {
    const counter = flags & AlarmFlag.COUNTER;
    if (flags & ~KNOWN) return 'unknown flags';
    if (counter >= ALARMS) return 'no such counter';
    const periodic = (flags & AlarmFlag.PERIODIC) !== 0;
    if (periodic && period === 0n) return 'a period of 0';
    this.cancel(flags);
    const alarm = { flags, periodNs: periodic ? Math.max(LEAST_PERIOD_NS, this.#ns(period)) : 0, timer: undefined };
    this.#alarms[counter] = alarm;
    this.#arm(counter, alarm, this.#ns(expiry));
    return undefined;
  }

  cancel(flags: number): string | undefined {
    const counter = flags & AlarmFlag.COUNTER;
    if (counter >= ALARMS) return 'no such counter';
    this.#alarms[counter]?.timer?.cancel();
    this.#alarms[counter] = undefined;
    return undefined;
  }

  stop(): void {
    for (let counter = 0; counter < ALARMS; counter++) this.cancel(counter);
  }

  #ns(cycles: bigint): number {
    return Math.ceil((Number(cycles) * 1e9) / this.#machine.clock.tscHz);
  }

  #arm(counter: number, alarm: Alarm, deadlineNs: number): void {
    if (deadlineNs > Number.MAX_SAFE_INTEGER) return;
    alarm.timer = this.#machine.clock.at(deadlineNs, () => this.#fire(counter, alarm, deadlineNs));
  }

  #fire(counter: number, alarm: Alarm, deadlineNs: number): void {
    if (this.#alarms[counter] !== alarm) return;
    if (alarm.flags & AlarmFlag.WIRED_LVTT) this.#vcpu.raiseLocalTimerInterrupt();
    else this.#machine.raiseTimerInterrupt();
    if (alarm.periodNs === 0) {
      this.#alarms[counter] = undefined;
      return;
    }
    // Periods that have gone by are not made up for.
    const next = deadlineNs + alarm.periodNs;
    const nowNs = this.#machine.clock.nowNs();
    this.#arm(counter, alarm, next > nowNs ? next : nowNs + alarm.periodNs);
  }
}
