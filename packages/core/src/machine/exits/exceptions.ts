import type { DeliveredEvent } from '@polyvisor/plugin-api';
import { allowAccess } from '../breakpoints/debug-registers.ts';
import { afterDeliveryFault, type NativeFault, Vector } from '../native/answer.ts';
import { deliver } from '../native/delivery.ts';
import { SecondLevelRefusal } from '../second-level.ts';
import type { MachineVcpu } from '../vcpu.ts';
import type { Ask } from './ask.ts';
import type { ExitCounts } from './exit-counts.ts';

/** A fault that a plug-in answers with, or that a processor raises by itself. */
interface Answered {
  readonly fault: number;
  readonly errorCode?: number;
  readonly cr2?: bigint;
}

/** Exceptions and interrupts on their way into the guest: the plug-ins are asked first, then the guest's IDT has them. */
export class Exceptions {
  readonly #ask: Ask;
  readonly #counts: ExitCounts;
  readonly #crash: (message: string) => void;

  /** `crash`: the guest cannot go on, and why. */
  constructor(ask: Ask, counts: ExitCounts, crash: (message: string) => void) {
    this.#ask = ask;
    this.#counts = counts;
    this.#crash = crash;
  }

  /** An exception at RIP: to the plug-ins, then to the guest's IDT. */
  raise(vcpu: MachineVcpu, fault: NativeFault, during?: DeliveredEvent): void {
    this.#counts.exception(fault.vector);
    const answer = this.#ask(vcpu, { kind: 'exception', ...fault, ...(during && vcpu.assist && { during }) });
    if (answer === 'handled') return;
    const raised = typeof answer === 'object' ? nativeFault(answer) : fault;
    if (raised.vector === Vector.PF && raised.cr2 !== undefined) vcpu.cr2 = raised.cr2;
    this.#deliver(vcpu, { source: 'exception', vector: raised.vector, errorCode: raised.errorCode });
  }
  /** What the second level of translation has refused, at RIP: the plug-in that owns that level has it. */
  refused(vcpu: MachineVcpu, during?: DeliveredEvent): void {
    const refused = vcpu.takeRefused();
    if (this.#ask(vcpu, { kind: 'secondLevelFault', ...refused, ...(during && { during }) }) === 'handled') return;
    this.#crash(`no plug-in took a fault of the second level of translation at 0x${refused.gpa.toString(16)}`);
  }
  /** The same for what a plug-in answers an instruction with. */
  raiseAnswer(vcpu: MachineVcpu, answer: Answered): void {
    this.raise(vcpu, nativeFault(answer));
  }

  /** INT n, INT3 or INTO, over which RIP has moved from `rip`. A fault on the way is raised there. */
  softwareInterrupt(vcpu: MachineVcpu, vector: number, rip: bigint, needsIopl: boolean): void {
    const during = { source: 'softwareInterrupt', vector, errorCode: undefined } as const;
    try {
      const fault = deliver(vcpu, { vector, errorCode: undefined, software: true, needsIopl });
      if (!fault) return;
      vcpu.rip = rip;
      this.raise(vcpu, fault, during);
    } catch (error) {
      if (!(error instanceof SecondLevelRefusal)) throw error;
      vcpu.rip = rip;
      this.refused(vcpu, during);
    }
  }

  /**
   * What waits to be delivered before the next instruction: an injected event, or else an interrupt (SDM vol. 3A, 6.9).
   * True: there is an interrupt, and only the instruction after STI or MOV SS comes before it.
   */
  deliverEvents(vcpu: MachineVcpu): boolean {
    const shadow = vcpu.takeShadow();
    const event = vcpu.pending;
    if (event) {
      vcpu.pending = undefined;
      this.#deliver(vcpu, event);
      // A window that the handler's first instruction is in opens ahead of it.
      if (!vcpu.eventGate?.window?.()) return false;
    } else if (shadow) return vcpu.eventGate !== undefined || vcpu.hasDeliverableEvent;
    if (!vcpu.hasDeliverableEvent) return false;
    if (vcpu.eventGate?.takes(vcpu.deliverable(vcpu.eventGate) ?? 'external')) return false;
    if (vcpu.takeNmi()) this.#deliver(vcpu, { source: 'nmi', vector: Vector.NMI, errorCode: undefined });
    else this.#deliver(vcpu, { source: 'interrupt', vector: vcpu.acknowledgeInterrupt(), errorCode: undefined });
    return false;
  }

  /** Through the IDT; a fault on the way becomes a double fault, then a shutdown (SDM vol. 3A, 6.15). */
  #deliver(vcpu: MachineVcpu, event: DeliveredEvent): void {
    if (event.vector === Vector.DB) allowAccess(vcpu);
    try {
      this.#enterHandler(vcpu, event);
    } catch (error) {
      if (!(error instanceof SecondLevelRefusal)) throw error;
      this.refused(vcpu, event);
    }
  }
  #enterHandler(vcpu: MachineVcpu, event: DeliveredEvent): void {
    let first: number | undefined = event.vector;
    const software = event.source === 'softwareInterrupt';
    let fault = deliver(vcpu, { vector: event.vector, errorCode: event.errorCode, software });
    while (fault && first !== undefined) {
      if (vcpu.assist && this.#ask(vcpu, { kind: 'exception', ...fault, during: event }) === 'handled') return;
      if (fault.vector === Vector.PF && fault.cr2 !== undefined) vcpu.cr2 = fault.cr2;
      const next: NativeFault | undefined = afterDeliveryFault(first, fault);
      first = next?.vector;
      if (next?.vector === Vector.DF && vcpu.assist) {
        if (this.#ask(vcpu, { kind: 'exception', ...next, during: event }) === 'handled') return;
      }
      if (next) fault = deliver(vcpu, { vector: next.vector, errorCode: next.errorCode, software: false });
    }
    if (!fault || this.#ask(vcpu, { kind: 'shutdown', reason: 'tripleFault' }) === 'handled') return;
    this.#crash(`triple fault: exception ${event.vector} could not be delivered`);
  }
}

function nativeFault({ fault, errorCode, cr2 }: Answered): NativeFault {
  return {
    vector: fault,
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(cr2 === undefined ? {} : { cr2 }),
  };
}
