/** What INIT and SIPI need of a vCPU. */
interface StartedVcpu {
  offline: boolean;
  kick(): void;
}

/**
 * INIT and SIPI on their way to a vCPU (SDM vol. 3A, 8.4). They may come while guest code runs, this vCPU's or another's;
 * they take effect before it enters guest code next, in the order in which they came.
 */
export class StartupSignals {
  readonly #vcpu: StartedVcpu;
  #waitsForStartup = false;
  #initPending = false;
  #vector: number | undefined;
  /** Whether {@link take} has anything to tell. */
  pending = false;

  constructor(vcpu: StartedVcpu) {
    this.#vcpu = vcpu;
  }

  /** As after power-up and INIT: an application processor executes nothing before its SIPI. */
  waitForStartup(): void {
    this.#waitsForStartup = true;
    this.#vcpu.offline = true;
  }

  init(): void {
    this.#initPending = true;
    this.#vector = undefined;
    this.#notice();
  }
  /** SIPI: nothing to a processor that does not wait for it. */
  startup(vector: number): void {
    if (!(this.#waitsForStartup || this.#initPending) || this.#vector !== undefined) return;
    this.#vector = vector;
    this.#notice();
  }
  #notice(): void {
    this.pending = true;
    this.#vcpu.kick();
  }

  /** What has come: INIT, and after it the vector of a SIPI. */
  take(): { init: boolean; vector: number | undefined } {
    const taken = { init: this.#initPending, vector: this.#vector };
    this.pending = false;
    this.#initPending = false;
    this.#vector = undefined;
    if (taken.vector !== undefined) this.#waitsForStartup = false;
    return taken;
  }
}
