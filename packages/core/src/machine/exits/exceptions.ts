import { allowAccess } from '../breakpoints/debug-registers.ts';
import { afterDeliveryFault, type NativeFault, Vector } from '../native/answer.ts';
import { deliver } from '../native/delivery.ts';
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
  raise(vcpu: MachineVcpu, fault: NativeFault): void {
    this.#counts.exception(fault.vector);
    const answer = this.#ask(vcpu, { kind: 'exception', ...fault });
    if (answer === 'handled') return;
    const raised = typeof answer === 'object' ? nativeFault(answer) : fault;
    if (raised.vector === Vector.PF && raised.cr2 !== undefined) vcpu.cr2 = raised.cr2;
    this.#deliver(vcpu, raised.vector, raised.errorCode);
  }
  /** The same for what a plug-in answers an instruction with. */
  raiseAnswer(vcpu: MachineVcpu, answer: Answered): void {
    this.raise(vcpu, nativeFault(answer));
  }

  /** INT n, INT3 or INTO, over which RIP has moved from `rip`. A fault on the way is raised there. */
  softwareInterrupt(vcpu: MachineVcpu, vector: number, rip: bigint, needsIopl: boolean): void {
    const fault = deliver(vcpu, { vector, errorCode: undefined, software: true, needsIopl });
    if (!fault) return;
    vcpu.rip = rip;
    this.raise(vcpu, fault);
  }

  /**
   * What waits to be delivered before the next instruction: an injected event, or else an interrupt (SDM vol. 3A, 6.9).
   * True: there is an interrupt, and only the instruction after STI or MOV SS comes before it.
   */
  deliverEvents(vcpu: MachineVcpu): boolean {
    const shadow = vcpu.interruptShadow;
    vcpu.interruptShadow = false;
    const event = vcpu.pending;
    if (event) {
      vcpu.pending = undefined;
      this.#deliver(vcpu, event.vector, event.errorCode);
      return false;
    }
    if (!vcpu.hasDeliverableEvent || shadow) return vcpu.hasDeliverableEvent;
    if (vcpu.takeNmi()) this.#deliver(vcpu, Vector.NMI, undefined);
    else this.#deliver(vcpu, vcpu.acknowledgeInterrupt(), undefined);
    return false;
  }

  /** Through the IDT; a fault on the way becomes a double fault, then a shutdown (SDM vol. 3A, 6.15). */
  #deliver(vcpu: MachineVcpu, vector: number, errorCode: number | undefined): void {
    let first: number | undefined = vector;
    if (vector === Vector.DB) allowAccess(vcpu);
    let fault = deliver(vcpu, { vector, errorCode, software: false });
    while (fault && first !== undefined) {
      if (fault.vector === Vector.PF && fault.cr2 !== undefined) vcpu.cr2 = fault.cr2;
      const next: NativeFault | undefined = afterDeliveryFault(first, fault);
      first = next?.vector;
      if (next) fault = deliver(vcpu, { vector: next.vector, errorCode: next.errorCode, software: false });
    }
    if (fault) this.#crash(`triple fault: exception ${vector} could not be delivered`);
  }
}

function nativeFault({ fault, errorCode, cr2 }: Answered): NativeFault {
  return {
    vector: fault,
    ...(errorCode === undefined ? {} : { errorCode }),
    ...(cr2 === undefined ? {} : { cr2 }),
  };
}
