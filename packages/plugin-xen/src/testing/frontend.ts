import type { Devices } from '@polyvisor/plugin-api';
import { DeviceBus } from '../devices/deviceBus.ts';
import { EventChannels } from '../events/eventChannels.ts';
import { GrantTable } from '../grant/grantTable.ts';
import { Domid } from '../hypercall/domid.ts';
import { Blocking } from '../sched/blocking.ts';
import { Runstates } from '../sched/runstate.ts';
import { Store } from '../xenstore/store.ts';
import { FakeDomain } from './fakeDomain.ts';

const PAGE_BYTES = 4096;
/** Guest pages from here on are handed out for rings and data. */
const FIRST_FREE_MFN = 20;
const PERMIT_ACCESS = 1;
const READONLY = 4;

/** The frontends' half of split drivers, played by a test: grants, event channels, store and rings, in the open. */
export class FakeFrontend {
  readonly domain: FakeDomain;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly store = new Store();
  readonly bus: DeviceBus;
  #nextMfn = FIRST_FREE_MFN;
  #nextRef = 8;

  constructor(devices: Partial<Devices>) {
    this.domain = new FakeDomain(1, devices);
    this.events = new EventChannels(this.domain, new Blocking(this.domain, new Runstates(this.domain)));
    this.grants = new GrantTable(this.domain);
    this.bus = new DeviceBus(this.domain, this.events, this.grants, this.store);
  }

  get memory() {
    return this.domain.memory;
  }

  /** A page of the guest's with a grant for the control domain. */
  page({ readOnly = false, granted = true } = {}): { ref: number; gpa: number } {
    const mfn = this.#nextMfn++;
    const ref = this.#nextRef++;
    if (granted) this.grant(ref, mfn, readOnly);
    return { ref, gpa: mfn * PAGE_BYTES };
  }
  grant(ref: number, mfn: number, readOnly = false): void {
    const at = this.#entry(ref);
    this.memory.write16(at + 2, Domid.CONTROL);
    this.memory.write32(at + 4, mfn);
    this.memory.write16(at, PERMIT_ACCESS | (readOnly ? READONLY : 0));
  }
  grantFlags(ref: number): number {
    return this.memory.read16(this.#entry(ref));
  }
  #entry(ref: number): number {
    return this.grants.frames[0] * PAGE_BYTES + ref * 8;
  }

  /** A channel that the backend may bind. */
  port(): number {
    return Number(this.events.allocUnbound(Domid.CONTROL));
  }
  /** Whether the backend has sent; forgets it. */
  takeEvent(port: number): boolean {
    const word = this.domain.sharedInfoGpa + 2048;
    return this.memory.testAndClearBit(word, port);
  }

  /** Write nodes below a device's frontend directory, as the guest. */
  write(device: string, nodes: Readonly<Record<string, string | number>>): void {
    for (const [name, value] of Object.entries(nodes)) {
      const view = this.store.view();
      view.write(Domid.GUEST, `/local/domain/1/device/${device}/${name}`, new TextEncoder().encode(String(value)));
      this.store.commit(view);
    }
  }
  backend(device: string, node: string): string | undefined {
    const [type, id] = device.split('/');
    const value = this.store.get(`/local/domain/0/backend/${type}/1/${id}/${node}`);
    return value === undefined ? undefined : new TextDecoder().decode(value);
  }

  /** Writable references that the backend holds. */
  get held(): number {
    return [...this.domain.writable.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** The frontend's side of a shared ring of one page (public/io/ring.h). */
export class FrontRing {
  readonly #frontend: FakeFrontend;
  readonly gpa: number;
  readonly ref: number;
  readonly #entryBytes: number;
  readonly #count: number;
  #prod = 0;
  #cons = 0;

  constructor(frontend: FakeFrontend, entryBytes: number) {
    this.#frontend = frontend;
    const { ref, gpa } = frontend.page();
    this.ref = ref;
    this.gpa = gpa;
    this.#entryBytes = entryBytes;
    this.#count = 2 ** Math.floor(Math.log2((PAGE_BYTES - 64) / entryBytes));
    frontend.memory.write32(gpa + 4, 1);
    frontend.memory.write32(gpa + 12, 1);
  }

  get count(): number {
    return this.#count;
  }
  put(request: Uint8Array): void {
    this.#frontend.memory.writeBytes(this.#entry(this.#prod++), request);
    this.setProd(this.#prod);
  }
  setProd(prod: number): void {
    this.#frontend.memory.write32(this.gpa, prod >>> 0);
  }
  /** Responses since the last call; the next one is asked for. */
  take(sizeBytes: number): DataView[] {
    const { memory } = this.#frontend;
    const prod = memory.read32(this.gpa + 8);
    const responses: DataView[] = [];
    for (; this.#cons !== prod; this.#cons++) {
      responses.push(new DataView(memory.readBytes(this.#entry(this.#cons), sizeBytes).buffer));
    }
    memory.write32(this.gpa + 12, this.#cons + 1);
    return responses;
  }
  #entry(index: number): number {
    return this.gpa + 64 + (index % this.#count) * this.#entryBytes;
  }
}
