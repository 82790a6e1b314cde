import type { Stateful } from '../../bus/device.ts';
import { VectorSet } from './vector-set.ts';

export interface InterruptQueueState {
  tpr: number;
  irr: number[];
  isr: number[];
  tmr: number[];
}

/** Requested and served interrupts and their order (SDM vol. 3A, 10.8). */
export class InterruptQueue implements Stateful<InterruptQueueState> {
  /** Task priority, 8 bits. */
  tpr = 0;
  readonly irr = new VectorSet();
  readonly isr = new VectorSet();
  readonly tmr = new VectorSet();

  clear(): void {
    this.tpr = 0;
    for (const set of [this.irr, this.isr, this.tmr]) set.clear();
  }

  /** PPR: TPR or the class in service, whichever is higher (10.8.3.1). */
  get processorPriority(): number {
    const inService = this.isr.highest();
    return inService < 0 || this.tpr >> 4 >= inService >> 4 ? this.tpr : inService & 0xf0;
  }
  /** Whether the highest request is of a higher class than PPR's. */
  hasDeliverable(): boolean {
    const wanted = this.irr.highest();
    return wanted >= 0 && wanted >> 4 > this.processorPriority >> 4;
  }

  request(vector: number, level: boolean): void {
    this.irr.add(vector);
    if (level) this.tmr.add(vector);
    else this.tmr.remove(vector);
  }
  /** The highest request goes into service. There must be one. */
  take(): number {
    const vector = this.irr.highest();
    this.irr.remove(vector);
    this.isr.add(vector);
    return vector;
  }
  /** The highest in service has ended; -1 if there is none. */
  end(): number {
    const vector = this.isr.highest();
    if (vector >= 0) this.isr.remove(vector);
    return vector;
  }

  saveState(): InterruptQueueState {
    return { tpr: this.tpr, irr: this.irr.save(), isr: this.isr.save(), tmr: this.tmr.save() };
  }
  restoreState({ tpr, irr, isr, tmr }: InterruptQueueState): void {
    this.tpr = tpr;
    this.irr.load(irr);
    this.isr.load(isr);
    this.tmr.load(tmr);
  }
}
