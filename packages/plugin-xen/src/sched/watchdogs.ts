import type { Timer } from '@polyvisor/plugin-api';
import type { XenDomain } from '../domain.ts';
import { EINVAL, ENOSPC } from '../errno.ts';

/** NR_DOMAIN_WATCHDOG_TIMERS: identities 1 and 2. */
const COUNT = 2;

/** The domain's watchdogs: when one is not fed in time, the domain shuts down with reason `watchdog`. */
export class Watchdogs {
  readonly #domain: XenDomain;
  readonly #timers: (Timer | undefined)[] = new Array(COUNT).fill(undefined);

  constructor(domain: XenDomain) {
    this.#domain = domain;
  }

  /**
   * SCHEDOP_watchdog. `id` 0: take a free one, answer its id. Otherwise feed it, or with `timeoutSeconds` 0 stop it.
   */
  set(id: number, timeoutSeconds: number): bigint {
    if (id > COUNT) return EINVAL;
    if (id === 0) return this.#allocate(timeoutSeconds);
    const slot = id - 1;
    if (this.#timers[slot] === undefined) return EINVAL;
    this.#timers[slot]?.cancel();
    this.#timers[slot] = timeoutSeconds === 0 ? undefined : this.#start(timeoutSeconds);
    return 0n;
  }

  stopAll(): void {
    for (const timer of this.#timers) timer?.cancel();
    this.#timers.fill(undefined);
  }

  #allocate(timeoutSeconds: number): bigint {
    const slot = this.#timers.indexOf(undefined);
    if (slot < 0) return ENOSPC;
    this.#timers[slot] = this.#start(timeoutSeconds);
    return BigInt(slot + 1);
  }

  #start(timeoutSeconds: number): Timer {
    const { clock, machine } = this.#domain;
    return clock.at(clock.nowNs() + timeoutSeconds * 1e9, () => machine.shutdown({ kind: 'watchdog' }));
  }
}
