import type { Clock } from '@polyvisor/plugin-api';
import type { ApicBus } from '../apic-bus/apic-bus.ts';

/** The processor, as its local APIC sees it. */
interface ApicProcessor {
  /** `LocalApic.hasDeliverable` has become true: leave HLT, open the interrupt window. */
  interruptPending(): void;
  nmi(): void;
  smi(): void;
  /** The APIC has reset itself already. */
  init(): void;
  /** SIPI: start at `vector` × 0x1000, if waiting for it. */
  startup(vector: number): void;
}

export interface LocalApicOptions {
  /** APIC ID: below 255 for xAPIC. */
  readonly id: number;
  readonly bootstrap: boolean;
  readonly clock: Clock;
  readonly bus: ApicBus;
  readonly processor: ApicProcessor;
  /** The 8259 pair's INTA, for ExtINT. */
  readonly acknowledgeExternal: () => number;
  /** Machine time at which this processor's TSC reaches high:low. Without it the clock's own TSC counts. */
  readonly nsOfTsc?: (low: number, high: number) => number;
}
