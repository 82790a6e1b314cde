import type { ShutdownReason } from '@polyvisor/plugin-api';
import type { XenDomain, XenVcpu } from '../domain.ts';

/** SHUTDOWN_* (public/sched.h). */
const CRASH = 3;

const REASONS: readonly (ShutdownReason | undefined)[] = [
  { kind: 'poweroff' },
  { kind: 'reboot' },
  { kind: 'suspend' },
  undefined, // crash: reported with the place it happened at
  { kind: 'watchdog' },
  { kind: 'softReset' },
];

/** How the domain ends. The first reason given wins, as SCHEDOP_shutdown_code lets a guest set it ahead. */
export class Shutdown {
  readonly #domain: XenDomain;
  #code: number | undefined;

  constructor(domain: XenDomain) {
    this.#domain = domain;
  }

  /** SCHEDOP_shutdown_code: keep the reason; the domain goes on until it shuts down. */
  announce(code: number): void {
    this.#code ??= code & 0xff;
  }

  /** End the domain. A code that Xen does not define counts as a crash. */
  now(vcpu: XenVcpu, code: number): void {
    this.announce(code);
    const reason = REASONS[this.#code ?? code];
    if (this.#code === CRASH) this.#domain.crash(vcpu, 'the guest reported a crash (SHUTDOWN_crash)');
    else if (reason === undefined) this.#domain.crash(vcpu, `unknown shutdown reason ${this.#code}`);
    else this.#domain.machine.shutdown(reason);
  }
}
