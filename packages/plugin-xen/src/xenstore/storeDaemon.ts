import type { XenDomain } from '../domain.ts';
import type { EventChannels } from '../events/eventChannels.ts';
import { Domid } from '../hypercall/domid.ts';
import { type ConsoleFacts, writeInitialTree } from './initialTree.ts';
import { domainPath } from './path.ts';
import { Store } from './store.ts';
import { StoreRing } from './storeRing.ts';

const PAGE_BYTES = 4096;
const KIB_PER_PAGE = 4;
const GUEST_NAME = 'guest';
/** The same on every boot, so that a run can be repeated. */
const GUEST_UUID = '706f6c79-7669-4736-8f72-000000000001';

/** The store daemon and toolstack of this one guest. */
export class StoreDaemon {
  readonly store = new Store();
  readonly port: number;
  readonly #domain: XenDomain;
  readonly #events: EventChannels;
  #ring: StoreRing | undefined;

  constructor(domain: XenDomain, events: EventChannels) {
    this.#domain = domain;
    this.#events = events;
    this.port = events.bindHost(() => this.#serve());
  }

  /** The rings are in place: introduce the domain. */
  start(storeMfn: number, console: ConsoleFacts | undefined): void {
    const domain = this.#domain;
    writeInitialTree(this.store, {
      domid: Domid.GUEST,
      name: GUEST_NAME,
      uuid: GUEST_UUID,
      vcpus: domain.vcpus.length,
      memoryKiB: domain.totalPages * KIB_PER_PAGE,
      maxMemoryKiB: domain.maxPages * KIB_PER_PAGE,
      storePort: this.port,
      storeMfn,
      console,
    });
    this.#ring = new StoreRing(domain.memory, storeMfn * PAGE_BYTES, this.store, Domid.GUEST, (message) =>
      domain.host.log('info', `xenstore: ${message}`),
    );
  }

  /** Ask the guest's kernel to shut down, as `xl shutdown` and `xl reboot` do. */
  requestShutdown(kind: 'poweroff' | 'reboot' | 'suspend'): void {
    this.store.set(`${domainPath(Domid.GUEST)}/control/shutdown`, kind);
    // The guest's watches have queued their events.
    this.#serve();
  }

  #serve(): void {
    if (this.#ring?.serve()) this.#events.notifyGuest(this.port);
  }
}
