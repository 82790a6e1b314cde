/**
 * The bus of lguest until 3.19: a page of device descriptors just above the guest's memory, the rings of the devices behind
 * it, and one hypercall that says an address (include/linux/lguest_launcher.h; Documentation/lguest/lguest.c of 2.6.32).
 */
import { type Machine, PolyvisorError, type VirtioDevice } from '@polyvisor/plugin-api';
import { IRQS } from './abi.ts';
import type { DescribedQueue, DescriptorFormat } from './descriptors.ts';
import type { Bus } from './guest.ts';
import { CheckedMemory } from './guestMemory.ts';
import { hex, kill } from './killed.ts';

const PAGE_BYTES = 4096;
/** Memory above the guest's own for descriptors and rings, as the launcher had it. */
export const DEVICE_BYTES = 256 * PAGE_BYTES;
const FIRST_IRQ = 1;
const Status = { DRIVER_OK: 4, FAILED: 0x80 } as const;
/** Longest text that a notification prints at once. */
const MOST_TEXT_BYTES = 65_536;

interface Queue extends DescribedQueue {
  readonly sizeBytes: number;
}
interface Place {
  readonly device: VirtioDevice;
  readonly descriptor: number;
  readonly bytes: Uint8Array;
  /** Where the driver writes what features it takes; 2.6.24 has no place for that. */
  readonly accepted: number | undefined;
  readonly queues: readonly Queue[];
  running: boolean;
}

const roundUp = (sizeBytes: number) => Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;
/** Bytes of a queue's rings: descriptors and available ring, then the used ring on a page of its own (Virtio 1.2, 2.7.2). */
const ringBytes = (entries: number) => roundUp(entries * 18 + 6) + roundUp(entries * 8 + 6);

function tooMany(what: string): PolyvisorError {
  return new PolyvisorError('PV7004', `too many devices for lguest's bus: ${what}`, 'give the guest fewer devices', 2);
}

export class DescriptorBus implements Bus {
  readonly pci = undefined;
  readonly #machine: Machine;
  readonly #memory: CheckedMemory;
  readonly #places: readonly Place[];
  readonly #format: DescriptorFormat;
  readonly #byAddress = new Map<number, { readonly place: Place; readonly queue?: number }>();

  /** `raise`: an interrupt of the bus. `endGpa`: end of the guest's own memory. @throws PolyvisorError PV7004 */
  constructor(machine: Machine, endGpa: number, raise: (irq: number) => void, format: DescriptorFormat) {
    this.#machine = machine;
    this.#format = format;
    this.#memory = new CheckedMemory(machine.memory);
    const devices = machine.virtioDevices({
      blockHeaderBytes: format.blockHeaderBytes,
      queue: (device, queue) => raise(this.#places[device].queues[queue].irq),
      config: (device) => this.#check(device),
    });
    this.#places = layOut(devices, endGpa, format);
    for (const place of this.#places) this.#announce(place);
  }

  /** LHCALL_NOTIFY: a descriptor whose status has changed, a queue, or a text for the console. @throws Killed */
  notify(address: number): void {
    const found = this.#byAddress.get(address);
    if (!found) this.#print(address);
    else if (found.queue === undefined) this.#statusChanged(found.place);
    else {
      this.#start(found.place);
      found.place.device.notify(found.queue);
    }
  }

  /** Nothing of the guest's is touched any more. */
  stop(): void {
    for (const { device } of this.#places) device.reset();
  }

  #announce(place: Place): void {
    const { descriptor, bytes, queues } = place;
    this.#machine.memory.writeBytes(descriptor, bytes);
    this.#byAddress.set(descriptor, { place });
    queues.forEach(({ gpa }, queue) => this.#byAddress.set(gpa, { place, queue }));
    this.#place(place);
  }
  #place({ device, queues }: Place): void {
    queues.forEach(({ gpa }, index) => device.placeQueue(index, gpa));
  }

  #statusChanged(place: Place): void {
    const status = this.#machine.memory.read8(place.descriptor + this.#format.statusAt);
    if (status === 0 || (status & Status.FAILED) !== 0) this.#reset(place);
    else if ((status & Status.DRIVER_OK) !== 0) this.#start(place);
  }
  #reset(place: Place): void {
    const { device, queues, accepted } = place;
    device.reset();
    if (accepted !== undefined) this.#machine.memory.write32(accepted, 0);
    for (const { gpa, sizeBytes } of queues) this.#machine.memory.fill(gpa, sizeBytes, 0);
    this.#place(place);
    place.running = false;
  }
  #start(place: Place): void {
    if (place.running) return;
    place.running = true;
    place.device.start(place.accepted === undefined ? 0 : this.#machine.memory.read32(place.accepted));
  }
  #check(device: number): void {
    const { device: broken } = this.#places[device];
    if (!broken.needsReset) return;
    this.#machine.shutdown({
      kind: 'crash',
      message: `lguest killed the guest: it has broken a queue of ${broken.name}`,
    });
  }
  #print(address: number): void {
    if (!this.#memory.contains(address, 1)) kill(`Bad NOTIFY ${hex(address)}`);
    this.#machine.console.write(this.#memory.text(address, MOST_TEXT_BYTES));
  }
}

/** One descriptor after the other in the first page, the rings in those behind it. */
function layOut(devices: readonly VirtioDevice[], base: number, format: DescriptorFormat): Place[] {
  let descriptor = base;
  let next = base + PAGE_BYTES;
  let irq = FIRST_IRQ;
  return devices.map((device) => {
    const queues = device.queueSizes.map((entries) => {
      const queue = { gpa: next, sizeBytes: ringBytes(entries), irq: irq++ };
      next += queue.sizeBytes;
      return queue;
    });
    const { bytes, acceptedAt } = format.describe(device, queues);
    const accepted = acceptedAt === undefined ? undefined : descriptor + acceptedAt;
    const place = { device, descriptor, bytes, accepted, queues, running: false };
    descriptor += bytes.length;
    // A descriptor of type 0 ends the list.
    if (descriptor + format.headBytes > base + PAGE_BYTES) throw tooMany('their descriptors do not fit into a page');
    if (irq > IRQS) throw tooMany(`they need more than ${IRQS - FIRST_IRQ} interrupts`);
    if (next > base + DEVICE_BYTES) throw tooMany(`their queues need more than ${DEVICE_BYTES >> 10} KiB`);
    return place;
  });
}
