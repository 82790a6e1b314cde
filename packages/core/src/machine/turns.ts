import { ExitCode } from '../engine/exit-code.ts';
import type { PluginCalls } from '../ports/plugin-calls.ts';
import type { Attempts } from './attempts.ts';
import type { Breakpoints } from './breakpoints/breakpoints.ts';
import type { InstructionTime, MachineClock } from './clock.ts';
import type { EngineSeat } from './engine-seat.ts';
import type { ExitDispatch } from './exits/dispatch.ts';
import type { Exceptions } from './exits/exceptions.ts';
import type { Lifecycle } from './lifecycle.ts';
import { Vector } from './native/answer.ts';
import { takeStartup } from './native/startup.ts';
import type { Sampler } from './sampler.ts';
import type { MachineVcpu } from './vcpu.ts';

/** Instructions between looks at timers and the console. */
const QUANTUM = 200_000;
/** By the host's clock a turn may be longer, where the last one was over so soon: what stands around it costs a loop a hundredth. */
const LONGEST_QUANTUM = 8 * QUANTUM;
const SHORT_TURN_NS = 100_000;
/** How long guest code may run before the host's event loop gets its turn. */
const SLICE_NS = 4_000_000;
/** Longest idle wait, so that `stop` is noticed. */
const MAX_IDLE_NS = 100_000_000;
/** Instructions of a turn while another vCPU could go on, too. */
const SHARED_QUANTUM = 20_000;
/** Instructions between two tries while somebody waits for the guest to be in a certain state. */
const TRY_QUANTUM = 2000;
/** By the host's clock timers are looked at after so many exits, which take longer than instructions do. */
const EXITS_PER_LOOK = 64;

/** What gives and bounds the turns. */
export interface TurnsHost {
  readonly vcpus: readonly MachineVcpu[];
  readonly seat: EngineSeat<MachineVcpu>;
  readonly clock: MachineClock;
  /** Where the clock's time comes from, if that is instructions. */
  readonly instructionTime: InstructionTime | undefined;
  readonly lifecycle: Lifecycle;
  readonly calls: Pick<PluginCalls, 'beforeEntry' | 'vcpuSwitch' | 'has'>;
  readonly exceptions: Exceptions;
  readonly dispatch: ExitDispatch;
  readonly breakpoints: Breakpoints;
  readonly attempts: Attempts;
  readonly sampler: Sampler | undefined;
  /** Whether the next event may come from outside of the machine, however its clock stands. */
  readonly hasNetwork: boolean;
  /** The host's clock. */
  nowNs(): number;
}

/** Gives the vCPUs their turns: so many instructions, so much of the host's time, then timers and the host again. */
export class Turns {
  readonly #host: TurnsHost;
  readonly #vcpus: readonly MachineVcpu[];
  readonly #seat: EngineSeat<MachineVcpu>;
  readonly #clock: MachineClock;
  readonly #instructionTime: InstructionTime | undefined;
  readonly #lifecycle: Lifecycle;
  readonly #exceptions: Exceptions;
  readonly #breakpoints: Breakpoints;
  readonly #attempts: Attempts;
  readonly #sampler: Sampler | undefined;
  #executed = 0;

  constructor(host: TurnsHost) {
    this.#host = host;
    this.#vcpus = host.vcpus;
    this.#seat = host.seat;
    this.#clock = host.clock;
    this.#instructionTime = host.instructionTime;
    this.#lifecycle = host.lifecycle;
    this.#exceptions = host.exceptions;
    this.#breakpoints = host.breakpoints;
    this.#attempts = host.attempts;
    this.#sampler = host.sampler;
  }

  /** Instructions of all vCPUs so far. */
  get executed(): number {
    return this.#executed;
  }

  /** Run guest code for a few milliseconds, or until there is nothing to do. */
  slice(): void {
    let now = this.#host.nowNs();
    const until = now + SLICE_NS;
    this.#attempts.tryAll();
    for (; !this.#lifecycle.hasEnded && now < until; now = this.#timed(now)) {
      this.#clock.fireDue();
      this.#isUsedUp = false;
      let ran = false;
      for (const vcpu of this.#vcpus) {
        if (this.#seat.isShared && !this.#begin(vcpu)) continue;
        ran = this.#runVcpu(vcpu) || ran;
        if (this.#lifecycle.standsStill) return;
        this.#attempts.tryAll();
        this.#sampler?.look(vcpu);
      }
      if (ran) continue;
      // With a network the next event may come from outside: the host gets its turn before each leap in time.
      if (!this.#skipIdleTime() || this.#host.hasNetwork) return;
    }
  }

  /** A turn that began then is over; answers the host's time. */
  #timed(beginNs: number): number {
    const now = this.#host.nowNs();
    if (!this.#isUsedUp || this.#instructionTime) return now;
    const elapsedNs = now - beginNs;
    if (elapsedNs < SHORT_TURN_NS) this.#quantum = Math.min(this.#quantum * 2, LONGEST_QUANTUM);
    else if (elapsedNs > 3 * SHORT_TURN_NS) this.#quantum = QUANTUM;
    return now;
  }
  #quantum = QUANTUM;
  /** A turn of all the {@link #quantum} went on to its end. */
  #isUsedUp = false;

  /** One of several vCPUs gets its turn: the engine is its own. False: it has nothing to do. */
  #begin(vcpu: MachineVcpu): boolean {
    const { calls } = this.#host;
    if (vcpu.startup.pending) takeStartup(vcpu);
    if (!canRun(vcpu) && (vcpu.offline || !calls.has('beforeEntry'))) return false;
    const before = this.#seat.take(vcpu);
    if (before !== vcpu) calls.vcpuSwitch(before, vcpu);
    this.#othersCanRun = this.#vcpus.some((other) => other !== vcpu && canRun(other));
    this.#seat.othersKicked = false;
    vcpu.pauseLeaves = this.#othersCanRun;
    vcpu.hasPaused = false;
    return true;
  }
  #othersCanRun = false;
  /** Of several: this one waits for another, or has given another something to do. */
  #isOver(vcpu: MachineVcpu): boolean {
    return this.#seat.othersKicked || vcpu.hasPaused || vcpu.startup.pending;
  }

  /** All vCPUs sleep: go on at the next timer, if time may be moved there. */
  #skipIdleTime(): boolean {
    const deadline = this.#clock.nextDeadlineNs;
    return Number.isFinite(deadline) && this.#clock.skipTo(deadline);
  }
  /** How long to let the host wait: 0 while a vCPU can run. */
  get idleNs(): number {
    if (this.#lifecycle.hasEnded || this.#vcpus.some((vcpu) => !vcpu.blocked && !vcpu.offline)) return 0;
    if (this.#seat.isShared && this.#vcpus.some(canRun)) return 0;
    return Math.max(0, Math.min(MAX_IDLE_NS, this.#clock.nextDeadlineNs - this.#clock.nowNs()));
  }

  /** One turn of a vCPU; false: it had nothing to do. */
  #runVcpu(vcpu: MachineVcpu): boolean {
    if (vcpu.offline) return false;
    const turn = this.#turn();
    let left = turn;
    while (left > 0 && !this.#lifecycle.hasEnded) {
      if (vcpu.blocked && vcpu.hasDeliverableEvent) vcpu.wake();
      this.#host.calls.beforeEntry(vcpu);
      // What beforeEntry has delivered or raised may be what it waits for.
      if (vcpu.blocked && vcpu.hasDeliverableEvent) vcpu.wake();
      if (vcpu.blocked || vcpu.offline || this.#lifecycle.hasEnded) return left !== turn;
      const oneInstruction = this.#exceptions.deliverEvents(vcpu);
      if (this.#breakpoints.stopsAt(vcpu)) {
        this.#exceptions.raise(vcpu, { vector: Vector.DB });
        left--;
        continue;
      }
      const watched = this.#breakpoints.watch(vcpu);
      if (vcpu.holdsDirect !== (watched !== undefined)) vcpu.holdsDirect = watched !== undefined;
      const stepping = vcpu.singleStep;
      vcpu.debugShadow = false;
      const { engine } = vcpu;
      vcpu.noteWaitingInterrupt();
      engine.budget = left;
      this.#instructionTime?.enter(engine);
      const code = stepping || oneInstruction || watched ? engine.step() : engine.run();
      const executed = left - engine.budget;
      left -= Math.max(1, executed);
      this.#account(executed);
      if (code === ExitCode.budget) {
        this.#isUsedUp = turn === this.#quantum;
        break;
      }
      this.#host.dispatch.dispatch(vcpu, code, stepping, watched);
      if (this.#lifecycle.standsStill) break;
      if (this.#seat.isShared && this.#isOver(vcpu)) break;
      if (this.#clock.takeEarlierDeadline()) left = Math.min(left, this.#turn());
      if (!this.#instructionTime && ++this.#exits % EXITS_PER_LOOK === 0 && this.#timerIsDue) break;
    }
    return true;
  }

  #exits = 0;
  get #timerIsDue(): boolean {
    return this.#clock.nextDeadlineNs <= this.#clock.nowNs();
  }
  #turn(): number {
    const quantum = this.#othersCanRun ? SHARED_QUANTUM : this.#quantum;
    const most = Math.min(this.#attempts.areWaiting ? TRY_QUANTUM : quantum, this.#sampler?.untilNext ?? quantum);
    if (!this.#instructionTime) return most;
    const untilTimer = this.#clock.nextDeadlineNs - this.#clock.nowNs();
    return Math.max(1, Math.min(most, Math.ceil(untilTimer)));
  }
  #account(executed: number): void {
    this.#executed += executed;
    this.#sampler?.executed(executed);
    this.#instructionTime?.advance(executed);
  }
}

/** Whether a vCPU has something to do, as far as the machine itself knows. */
const canRun = (vcpu: MachineVcpu): boolean =>
  vcpu.startup.pending || (!vcpu.offline && (!vcpu.blocked || vcpu.hasDeliverableEvent));
