import { DeliveryMode, type InterruptMessage } from './message.ts';

/** A local APIC, as the bus sees it. */
export interface MessageTarget {
  readonly id: number;
  /** Whether the message is for it. */
  matches(destination: number, logical: boolean): boolean;
  /** Whether it takes fixed interrupts at all: lowest-priority arbitration passes over those that do not. */
  readonly acceptsFixed: boolean;
  readonly processorPriority: number;
  /** `false`: not accepted; the sender may try again. */
  receive(message: InterruptMessage): boolean;
}
/** An I/O APIC, as the bus sees it. */
export interface EoiListener {
  /** A level-triggered interrupt with this vector has ended. */
  endOfInterrupt(vector: number): void;
  /** A local APIC has begun to accept fixed interrupts: send again what nobody took. */
  retry(): void;
}

/** Carries messages between the APICs of one machine. */
export class ApicBus {
  readonly #targets: MessageTarget[] = [];
  readonly #listeners: EoiListener[] = [];

  attachLocalApic(target: MessageTarget): void {
    this.#targets.push(target);
  }
  attachIoApic(listener: EoiListener): void {
    this.#listeners.push(listener);
  }

  /** @returns whether anybody accepted it */
  deliver(message: InterruptMessage): boolean {
    const { destination, logical } = message;
    if (message.deliveryMode === DeliveryMode.LOWEST_PRIORITY) return this.#deliverToLowest(message);
    let accepted = false;
    for (const target of this.#targets) {
      if (target.matches(destination, logical) && target.receive(message)) accepted = true;
    }
    return accepted;
  }

  /** An ICR command with a destination shorthand. */
  deliverToOthers(message: InterruptMessage, sender: MessageTarget, andSelf: boolean): void {
    for (const target of this.#targets) if (andSelf || target !== sender) target.receive(message);
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.#listeners) listener.endOfInterrupt(vector);
  }

  retry(): void {
    for (const listener of this.#listeners) listener.retry();
  }

  /**
   * The processor with the lowest priority gets it (SDM vol. 3A, 10.6.2.4). Among equals the manual leaves the choice
   * open; here the lowest APIC ID wins, so that a run can be repeated.
   */
  #deliverToLowest(message: InterruptMessage): boolean {
    let chosen: MessageTarget | undefined;
    for (const target of this.#targets) {
      if (!target.acceptsFixed || !target.matches(message.destination, message.logical)) continue;
      const [mine, best] = [target.processorPriority, chosen?.processorPriority ?? Number.POSITIVE_INFINITY];
      if (mine < best || (mine === best && target.id < chosen!.id)) chosen = target;
    }
    return chosen?.receive(message) ?? false;
  }
}
