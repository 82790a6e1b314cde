import type { GuestMemory } from '@polyvisor/plugin-api';
import type { EventChannels } from '../events/eventChannels.ts';
import type { ForeignPages } from './foreignPages.ts';

/** What the back ends need of the domain they serve. */
export interface Host {
  readonly memory: GuestMemory;
  readonly events: EventChannels;
  readonly pages: ForeignPages;
  /** The guest has broken a ring's protocol; told as often as it is noticed. */
  brokenRing(device: string): void;
}

/** The host's end of an event channel that a frontend opened. */
export interface HeldPort {
  notify(): void;
  /** Serve as if the guest had sent. */
  run(): void;
  close(): void;
}

/** `undefined`: the guest has no such channel for the control domain. */
export function holdPort({ events }: Host, port: number, serve: () => void): HeldPort | undefined {
  if (!events.connectHost(port, serve)) return undefined;
  return {
    notify: () => events.notifyGuest(port),
    run: serve,
    close: () => events.disconnectHost(port, serve),
  };
}
