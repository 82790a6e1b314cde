import type { XenDomain } from '../domain.ts';
import type { EventChannels } from '../events/eventChannels.ts';
import type { GrantTable } from '../grant/grantTable.ts';
import type { Store } from '../xenstore/store.ts';
import { BackendDevice, type DeviceModel } from './backendDevice.ts';
import { blockDevice } from './blkback.ts';
import { ForeignPages } from './foreignPages.ts';
import type { Host } from './host.ts';
import { networkDevice } from './netback.ts';
import { shareDevice } from './nineback.ts';

/** All devices of one guest: introduces them, and follows their frontends. */
export class DeviceBus {
  readonly #devices: readonly BackendDevice[];

  constructor(domain: XenDomain, events: EventChannels, grants: GrantTable, store: Store) {
    const log = (message: string) => domain.host.log('warn', message);
    const told = new Set<string>();
    const host: Host = {
      memory: domain.memory,
      events,
      pages: new ForeignPages(domain, grants),
      brokenRing: (device) => {
        if (!told.has(device)) log(`${device}: the guest broke the ring's protocol; the device is dead`);
        told.add(device);
      },
    };
    this.#devices = models(domain, host).map((model) => new BackendDevice(store, model, log));
    for (const device of this.#devices) device.introduce();
    store.onChange((changes) => {
      for (const device of this.#devices) {
        const concerned = changes.some(
          ({ path, removed }) => path.startsWith(device.frontendPath) || removed.includes(device.frontendPath),
        );
        if (concerned) device.frontendChanged();
      }
    });
  }

  stop(): void {
    for (const device of this.#devices) device.disconnect();
  }
}

function models({ machine: { devices } }: XenDomain, host: Host): DeviceModel[] {
  return [
    ...devices.disks.map((disk, index) => blockDevice(host, disk, index)),
    ...devices.nics.map((nic, index) => networkDevice(host, nic, index)),
    ...devices.shares.map((share, index) => shareDevice(host, share, index)),
  ];
}
